#include "coordinator/text/incremental_decoder.h"

#include <string_view>
#include <utility>

#include "coordinator/text/utf8.h"

namespace barn {

IncrementalDecoder::IncrementalDecoder(const Tokenizer& tokenizer, DecodeOptions options,
                                       const std::set<int32_t>* shown)
    : tokenizer_(tokenizer),
      options_(options),
      shown_(shown),
      drop_space_(options.at_text_start && tokenizer.drops_leading_space()) {}

std::string IncrementalDecoder::Push(int32_t id) {
  std::string piece = tokenizer_.Piece(id, options_.special || (shown_ != nullptr && shown_->contains(id)));
  if (piece.empty()) return "";
  if (std::exchange(drop_space_, false) && piece[0] == ' ') piece.erase(0, 1);
  held_ += piece;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const size_t good = WellFormedPrefix(rest);
    out.append(rest.substr(0, good));
    rest.remove_prefix(good);
    if (rest.empty()) break;
    const Utf8Step step = ReadUtf8(rest);
    if (step.kind == Utf8Kind::kIncomplete) break;
    out.append(kReplacementCharacter);
    rest.remove_prefix(step.bytes);
  }
  held_ = std::string(rest);
  return out;
}

std::string IncrementalDecoder::Flush() { return ReplaceBrokenUtf8(std::exchange(held_, "")); }

}  // namespace barn
