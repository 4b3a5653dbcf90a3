#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/gguf.h"

namespace barn {

// Longest piece that a vocabulary may hold: pieces of real models stay below 600 bytes, and merging costs time by
// length.
inline constexpr int64_t kPieceBytesMax = 4096;

// tokenizer.ggml.token_type.
enum class TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// What a model file says about its tokens. Ids that are absent are -1.
struct Vocabulary {
  std::string model;       // tokenizer.ggml.model: "llama" (SPM), "gpt2" (byte-level BPE), "bert" (WordPiece), "t5"
                           // (unigram) or "none" (ids only).
  std::string pre;         // tokenizer.ggml.pre: the family of word splitting; BPE only.
  std::string model_name;  // general.name: Phi-3 files carry a rule for white space that only their name tells.
  std::vector<std::string> tokens;
  std::vector<float> scores;     // SPM: one per token; empty counts as zeros.
  std::vector<TokenType> types;  // One per token; empty counts as normal.
  std::vector<std::string> merges;
  std::string charsmap;               // Unigram: see Charsmap.
  bool removes_extra_spaces = false;  // Unigram: of a text.
  bool puts_space_before = false;     // Unigram: of a text, after that.
  int64_t id_count = 0;               // Number of ids; more than tokens.size() only for "none".
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t eot = -1;
  int32_t unk = -1;
  int32_t pad = -1;
  // Between two texts that are read together, behind what closes the first: -1 where nothing else stands there.
  int32_t pair_separator = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;  // SPM: a text gets a leading space before it is split.
  std::set<int32_t> end_of_generation;
  std::string chat_template;
};

// Reads tokenizer.* of a model file and fills in what the file leaves out (the defaults of its tokenizer family).
// InvalidArgument: an unknown tokenizer or pre-tokenizer (named, with the list of known ones), lists of unequal length,
// an id outside of the vocabulary, a piece longer than kPieceBytesMax.
absl::StatusOr<Vocabulary> ReadVocabulary(const GgufMetadata& metadata);

}  // namespace barn
