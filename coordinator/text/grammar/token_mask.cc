#include "coordinator/text/grammar/token_mask.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace barn::grammar {
namespace {

// A gap takes one or two bytes on the wire.
constexpr int64_t kBitsPerName = 16;

template <class Visit>
void ForEachBit(uint64_t word, const Visit& visit) {
  for (; word != 0; word &= word - 1) visit(std::countr_zero(word));
}

}  // namespace

TokenMask::TokenMask(const std::vector<uint64_t>& words, int64_t vocabulary) : vocabulary_(vocabulary) {
  for (const uint64_t word : words) allowed_ += std::popcount(word);
  const int64_t names = std::min(allowed_, vocabulary - allowed_);
  if (names * kBitsPerName > vocabulary) {
    static_assert(std::endian::native == std::endian::little);
    bits_.resize((vocabulary + 7) / 8);
    std::memcpy(bits_.data(), words.data(), bits_.size());
    return;
  }
  form_ = names == allowed_ ? Form::kAllowed : Form::kForbidden;
  named_.reserve(names);
  for (size_t i = 0; i < words.size(); ++i) {
    const int64_t first = static_cast<int64_t>(i) * 64;
    ForEachBit(form_ == Form::kAllowed ? words[i] : ~words[i], [&](int bit) {
      if (first + bit < vocabulary) named_.push_back(static_cast<int32_t>(first + bit));
    });
  }
}

bool TokenMask::Allows(int32_t id) const {
  if (id < 0 || id >= vocabulary_) return false;
  if (form_ == Form::kBits) return (static_cast<uint8_t>(bits_[id / 8]) >> (id % 8) & 1) != 0;
  return std::binary_search(named_.begin(), named_.end(), id) == (form_ == Form::kAllowed);
}

int64_t TokenMask::memory_bytes() const {
  return static_cast<int64_t>(sizeof(*this) + bits_.capacity() + named_.capacity() * 4);
}

}  // namespace barn::grammar
