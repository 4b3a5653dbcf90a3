#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "coordinator/text/encoder.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

// WordPiece with BERT's splitting (Devlin et al. 2019; Wu et al. 2016, section 4.1): a text falls into words at white
// space, punctuation and Chinese characters; a word is taken apart by its longest pieces from the left, or is unknown
// as a whole. Vocabularies without a capital letter were trained on lower case without accents.
//
// A piece that begins a word is written with U+2581 before it, one that goes on is not.
class WordPieceEncoder : public Encoder {
 public:
  // Borrows `vocabulary`, which must outlive this and has an unknown token.
  explicit WordPieceEncoder(const Vocabulary& vocabulary);

  absl::Status Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  void AppendWord(std::string_view word, std::vector<int32_t>* ids) const;

  absl::flat_hash_map<std::string_view, int32_t> pieces_;
  size_t piece_bytes_max_ = 0;
  int32_t unknown_id_;
  bool lower_case_ = true;
};

}  // namespace barn
