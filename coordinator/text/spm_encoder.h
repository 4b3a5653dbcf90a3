#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "coordinator/text/encoder.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

// How a piece writes a space: U+2581.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

class SymbolMerger;
struct Symbol;

// SentencePiece BPE (Kudo and Richardson 2018): characters merge into pieces by score, spaces are written as U+2581,
// and a character without a piece falls back to byte tokens.
class SpmEncoder : public Encoder {
 public:
  // Borrows `vocabulary`, which must outlive this and has `scores` and `types` for every token.
  explicit SpmEncoder(const Vocabulary& vocabulary);

  absl::Status Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  struct Piece {
    int32_t id;
    double score;
  };
  struct Scratch;

  absl::Status AppendSegment(std::string_view segment, Scratch& scratch, std::vector<int32_t>* ids) const;
  absl::Status AppendBytes(std::string_view bytes, std::vector<int32_t>* ids) const;

  absl::flat_hash_map<std::string_view, Piece> pieces_;
  std::array<int32_t, 256> byte_ids_;  // -1: none.
  int32_t unknown_id_;
  size_t piece_bytes_max_ = 0;
  // No piece goes on after a space once it has something else: then no merge crosses a word's start.
  bool words_are_separate_ = true;
};

}  // namespace barn
