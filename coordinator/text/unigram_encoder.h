#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "coordinator/text/charsmap.h"
#include "coordinator/text/encoder.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

// SentencePiece's unigram model (Kudo 2018): of all ways to take a text apart, the pieces with the largest sum of
// scores. A character without a piece costs 10 more than the worst piece, and neighbours of that kind are one unknown
// token.
class UnigramEncoder : public Encoder {
 public:
  // Borrows `vocabulary`, which must outlive this. InvalidArgument: no unknown token, or a broken charsmap.
  static absl::StatusOr<std::unique_ptr<UnigramEncoder>> Create(const Vocabulary& vocabulary);

  absl::Status Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  struct Piece {
    int32_t id;
    float score;
  };

  explicit UnigramEncoder(const Vocabulary& vocabulary);
  std::string Normalized(std::string_view text) const;
  void AppendBest(std::string_view text, std::vector<int32_t>* ids) const;

  const Vocabulary& vocabulary_;
  Charsmap charsmap_;
  absl::flat_hash_map<std::string_view, Piece> pieces_;
  size_t piece_bytes_max_ = 0;
  float unknown_score_ = 0;
};

}  // namespace barn
