#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/encoder.h"
#include "coordinator/text/special_tokens.h"
#include "coordinator/text/vocabulary.h"

namespace barn {

inline constexpr int64_t kTextBytesMax = 256 << 20;

struct EncodeOptions {
  bool add_special = true;  // Puts the begin and end tokens that the model asks for.
  bool parse_special =
      false;               // Reads the text of special tokens as those tokens: for templates, never for a user's words.
  bool continues = false;  // Stands behind other text: an SPM tokenizer puts no space before it.
};

struct DecodeOptions {
  bool special = false;       // Prints special tokens, too.
  bool at_text_start = true;  // The ids begin a text: the space that an SPM tokenizer put before it is dropped.
};

// Text to token ids and back, as the model's training did. Thread-safe.
class Tokenizer {
 public:
  // InvalidArgument: a vocabulary that contradicts itself, or of an unknown kind.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(Vocabulary vocabulary);

  // InvalidArgument: more than kTextBytesMax, or a vocabulary without pieces ("none"). ResourceExhausted: a word
  // pattern gave up. `text` may be any bytes; what is not UTF-8 becomes byte tokens.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options = {}) const;

  // The bytes of one token, which may be part of a character. Special tokens are empty unless `special`; so are unknown
  // ids. A vocabulary without pieces prints "<id>".
  std::string Piece(int32_t id, bool special) const;

  // The bytes of all tokens; see IncrementalDecoder for text that is always UTF-8.
  std::string Decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;

  int64_t size() const { return vocabulary_.id_count; }
  bool IsEndOfGeneration(int32_t id) const { return vocabulary_.end_of_generation.contains(id); }
  bool IsSpecial(int32_t id) const;  // A control or unknown token.
  bool drops_leading_space() const {
    return vocabulary_.add_space_prefix || vocabulary_.puts_space_before || vocabulary_.model == "bert";
  }
  bool has_pieces() const { return encoder_ != nullptr; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  explicit Tokenizer(Vocabulary vocabulary);

  const Vocabulary vocabulary_;
  std::unique_ptr<SpecialTokens> special_tokens_;
  std::unique_ptr<Encoder> encoder_;  // Null without pieces.
  std::vector<std::string> pieces_;   // The bytes of each token.
};

}  // namespace barn
