#include "coordinator/text/spm_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "coordinator/text/byte_alphabet.h"
#include "coordinator/text/symbol_merge.h"
#include "coordinator/text/utf8.h"
#include "coordinator/text/word_memo.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// True if a space mark follows something else in `piece`.
bool HasInnerSpace(std::string_view piece) {
  while (piece.substr(0, kSpaceMark.size()) == kSpaceMark) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) != std::string_view::npos;
}

// The end of the segment that starts at `begin`: spaces, then everything up to the next space.
size_t SegmentEnd(std::string_view text, size_t begin) {
  size_t at = begin;
  while (text.substr(at, kSpaceMark.size()) == kSpaceMark) at += kSpaceMark.size();
  return std::min(text.size(), text.find(kSpaceMark, at));
}

}  // namespace

struct SpmEncoder::Scratch {
  SymbolMerger merger;
  std::vector<Symbol> symbols;
};

SpmEncoder::SpmEncoder(const Vocabulary& vocabulary) : unknown_id_(vocabulary.unk) {
  byte_ids_.fill(-1);
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& text = vocabulary.tokens[i];
    const auto id = static_cast<int32_t>(i);
    const TokenType type = vocabulary.types[i];
    if (type == TokenType::kByte) {
      const std::optional<uint8_t> byte = ParseByteToken(text);
      if (byte.has_value()) byte_ids_[*byte] = id;
      continue;
    }
    // Control and unknown tokens take no part: plain text must not spell them.
    if (text.empty() || type == TokenType::kControl || type == TokenType::kUnknown) continue;
    const double score =
        std::isnan(vocabulary.scores[i]) ? -std::numeric_limits<double>::infinity() : vocabulary.scores[i];
    pieces_.insert_or_assign(text, Piece{id, score});
    piece_bytes_max_ = std::max(piece_bytes_max_, text.size());
    words_are_separate_ = words_are_separate_ && !HasInnerSpace(text);
  }
}

absl::Status SpmEncoder::AppendBytes(std::string_view bytes, std::vector<int32_t>* ids) const {
  for (const char byte : bytes) {
    int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id < 0) {
      // One unknown token stands for the whole character.
      if (unknown_id_ >= 0) {
        ids->push_back(unknown_id_);
        return absl::OkStatus();
      }
      return absl::InvalidArgumentError(absl::StrFormat(
          "the vocabulary has no token for byte 0x%02x and no unknown token", static_cast<uint8_t>(byte)));
    }
    ids->push_back(id);
  }
  return absl::OkStatus();
}

absl::Status SpmEncoder::AppendSegment(std::string_view segment, Scratch& scratch, std::vector<int32_t>* ids) const {
  scratch.symbols.clear();
  for (size_t at = 0; at < segment.size();) {
    const size_t bytes = ReadUtf8(segment.substr(at)).bytes;
    const auto piece = pieces_.find(segment.substr(at, bytes));
    scratch.symbols.push_back({.begin = static_cast<int32_t>(at),
                               .length_bytes = static_cast<int32_t>(bytes),
                               .id = piece == pieces_.end() ? -1 : piece->second.id});
    at += bytes;
  }
  scratch.merger.Run(scratch.symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<MergeResult> {
    const size_t bytes = left.length_bytes + right.length_bytes;
    if (bytes > piece_bytes_max_) return std::nullopt;
    const auto piece = pieces_.find(segment.substr(left.begin, bytes));
    if (piece == pieces_.end()) return std::nullopt;
    return MergeResult{piece->second.score, piece->second.id};
  });
  for (int32_t i = scratch.symbols.empty() ? -1 : 0; i >= 0; i = scratch.symbols[i].next) {
    const Symbol& symbol = scratch.symbols[i];
    if (symbol.id >= 0) {
      ids->push_back(symbol.id);
    } else {
      BARN_RETURN_IF_ERROR(AppendBytes(segment.substr(symbol.begin, symbol.length_bytes), ids));
    }
  }
  return absl::OkStatus();
}

absl::Status SpmEncoder::Append(std::string_view raw, std::vector<int32_t>* ids) const {
  const std::string text = absl::StrReplaceAll(std::string(raw), {{" ", kSpaceMark.data()}});
  Scratch scratch;
  if (!words_are_separate_) return AppendSegment(text, scratch, ids);
  WordMemo memo;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = SegmentEnd(text, begin);
    const std::string_view segment = std::string_view(text).substr(begin, end - begin);
    BARN_RETURN_IF_ERROR(memo.Append(segment, ids, [&] { return AppendSegment(segment, scratch, ids); }));
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace barn
