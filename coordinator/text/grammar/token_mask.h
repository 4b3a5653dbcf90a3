#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace barn::grammar {

// The tokens that may come next, in the form that takes the fewest bytes to send. Immutable.
class TokenMask {
 public:
  enum class Form {
    kAllowed,    // named() are the allowed tokens.
    kForbidden,  // named() are the others.
    kBits,       // bits(): token id is allowed if bit id % 8 of byte id / 8 is set.
  };

  // words: bit id % 64 of word id / 64; bits from `vocabulary` on are clear.
  TokenMask(const std::vector<uint64_t>& words, int64_t vocabulary);

  bool Allows(int32_t id) const;  // False outside of the vocabulary.
  int64_t allowed() const { return allowed_; }
  int64_t vocabulary() const { return vocabulary_; }

  Form form() const { return form_; }
  const std::string& bits() const { return bits_; }
  // The named tokens, ascending; none with kBits.
  const std::vector<int32_t>& named() const { return named_; }
  int64_t memory_bytes() const;

 private:
  int64_t vocabulary_;
  int64_t allowed_ = 0;
  Form form_ = Form::kBits;
  std::string bits_;
  std::vector<int32_t> named_;
};

}  // namespace barn::grammar
