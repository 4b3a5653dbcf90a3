#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "coordinator/text/encoder.h"
#include "coordinator/text/pre_tokenizer.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

// Byte-level BPE (Radford et al. 2019): text is cut into words, and the bytes of a word merge in the order of the merge
// list.
class BpeEncoder : public Encoder {
 public:
  // InvalidArgument: an unknown pre-tokenizer, or a merge that is not two pieces.
  static absl::StatusOr<std::unique_ptr<BpeEncoder>> Create(const Vocabulary& vocabulary);

  absl::Status Append(std::string_view text, std::vector<int32_t>* ids) const override;

 private:
  struct Merge {
    int32_t rank;
    int32_t symbol;
  };
  struct Scratch;

  BpeEncoder() = default;
  int32_t Intern(std::string bytes);
  void AddTokens(const Vocabulary& vocabulary);
  absl::Status AddMerges(const Vocabulary& vocabulary);
  absl::Status AppendWord(std::string_view word, Scratch& scratch, std::vector<int32_t>* ids) const;

  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  bool whole_words_first_ = false;
  // A symbol is a string of bytes that a merge reads or makes; most are tokens.
  absl::flat_hash_map<std::string, int32_t> symbols_;
  std::vector<int32_t> token_of_symbol_;  // -1: the string is not a token.
  std::array<int32_t, 256> byte_symbols_;
  absl::flat_hash_map<std::pair<int32_t, int32_t>, Merge> merges_;
};

}  // namespace barn
