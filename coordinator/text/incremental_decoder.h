#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "coordinator/text/tokenizer.h"

namespace barn {

// Turns a stream of token ids into a stream of UTF-8: a character whose bytes come in several tokens is held back until
// it is whole, and bytes that belong to no character become U+FFFD. The parts joined are
// ReplaceBrokenUtf8(tokenizer.Decode(all ids)).
class IncrementalDecoder {
 public:
  // Borrows `tokenizer`. An answer goes on after a prompt, so its first space is text: `at_text_start` is false for it.
  // `shown`: special tokens that are printed nevertheless; outlives this.
  explicit IncrementalDecoder(const Tokenizer& tokenizer, DecodeOptions options = {.at_text_start = false},
                              const std::set<int32_t>* shown = nullptr);

  std::string Push(int32_t id);  // The text that became complete; often empty, never half a character.
  std::string Flush();           // The end of the stream: a broken rest becomes U+FFFD.

 private:
  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  const std::set<int32_t>* shown_;
  bool drop_space_;
  std::string held_;  // A character's first bytes: at most 3.
};

}  // namespace barn
