#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

// Sets `end_of_generation`, `eot` and the type of well-known marker tokens (end of turn, fill-in-the-middle): files
// often mark those as normal or user-defined, although a chat must stop at them and plain text must not produce them.
void MarkKnownTokens(Vocabulary& vocabulary);

// A piece of a text: a token whose text was found whole, or text in between (token -1).
struct Fragment {
  std::string_view text;
  int32_t token = -1;
};

// Finds tokens that are matched as whole strings before a text is split: user-defined ones always, control and unknown
// ones on request. Longer tokens win over shorter ones anywhere in the text, then the leftmost.
class SpecialTokens {
 public:
  // Borrows `vocabulary`, which must outlive this.
  explicit SpecialTokens(const Vocabulary& vocabulary);

  // The fragments of `text` in order; none is empty. They borrow `text`.
  std::vector<Fragment> Split(std::string_view text, bool parse_special) const;

 private:
  struct Entry {
    int32_t id;
    bool user_defined;
    bool strips_right;  // Swallows white space that follows.
  };
  // All tokens of one length.
  struct LengthClass {
    size_t length_bytes;
    std::unique_ptr<std::bitset<65536>> starts;  // By the first two bytes (one: that byte twice): a cheap refusal.
    absl::flat_hash_map<std::string_view, Entry> entries;
    bool has_user_defined = false;
  };

  static bool SplitFragment(const LengthClass& tokens, bool parse_special, std::string_view text,
                            std::vector<Fragment>& out);

  std::vector<LengthClass> classes_;  // Longest first.
};

}  // namespace barn
