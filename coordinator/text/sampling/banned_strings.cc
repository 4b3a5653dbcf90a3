#include "coordinator/text/sampling/banned_strings.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"

namespace barn {
namespace {

std::vector<std::string> Lower(std::vector<std::string> texts) {
  for (std::string& text : texts) absl::AsciiStrToLower(&text);
  return texts;
}

}  // namespace

BannedStrings::BannedStrings(const std::vector<std::string>& strings, const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), matcher_(Lower(strings)) {
  for (const std::string& string : strings) longest_bytes_ = std::max(longest_bytes_, string.size());
}

int64_t BannedStrings::Push(int32_t id) {
  held_.push_back(absl::AsciiStrToLower(tokenizer_.Piece(id, /*special=*/false)));
  size_t tail_bytes = 0;  // Of the newest token, up to the byte that is being read.
  for (const char byte : held_.back()) {
    ++tail_bytes;
    const std::string* found = matcher_.Push(byte);
    if (found == nullptr) continue;
    int64_t back = 1;
    for (size_t bytes = tail_bytes; bytes < found->size() && back < held();) {
      bytes += held_[held_.size() - static_cast<size_t>(++back)].size();
    }
    held_.resize(held_.size() - static_cast<size_t>(back));
    matcher_.Reset();
    // What is left may be the beginning of another string; no match ends in it.
    for (const char again : before_) matcher_.Push(again);
    for (const std::string& piece : held_) {
      for (const char again : piece) matcher_.Push(again);
    }
    Settle();
    return back;
  }
  Settle();
  return 0;
}

void BannedStrings::Settle() {
  size_t bytes = 0;
  for (const std::string& piece : held_) bytes += piece.size();
  const size_t partial = matcher_.partial_bytes();
  while (!held_.empty() && bytes - held_.front().size() >= partial) {
    bytes -= held_.front().size();
    before_ += held_.front();
    held_.pop_front();
  }
  if (before_.size() >= longest_bytes_) before_.erase(0, before_.size() - longest_bytes_ + 1);
}

}  // namespace barn
