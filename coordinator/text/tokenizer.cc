#include "coordinator/text/tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "coordinator/text/bpe_encoder.h"
#include "coordinator/text/byte_alphabet.h"
#include "coordinator/text/spm_encoder.h"
#include "coordinator/text/unigram_encoder.h"
#include "coordinator/text/wordpiece_encoder.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// The bytes of a token: byte tokens and normal pieces are spelled, all others are written as they are.
std::string PieceBytes(const Vocabulary& vocabulary, size_t id) {
  const std::string& text = vocabulary.tokens[id];
  switch (vocabulary.types[id]) {
    case TokenType::kByte: {
      const std::optional<uint8_t> byte = ParseByteToken(text);
      return byte.has_value() ? std::string(1, static_cast<char>(*byte)) : text;
    }
    case TokenType::kNormal: {
      if (vocabulary.model != "gpt2") return absl::StrReplaceAll(text, {{kSpaceMark.data(), " "}});
      std::string bytes;
      return AlphabetToBytes(text, &bytes) ? bytes : text;
    }
    case TokenType::kUnused:
      return "";
    default:
      return text;
  }
}

absl::Status CheckVocabulary(const Vocabulary& v) {
  if (v.model != "llama" && v.model != "gpt2" && v.model != "bert" && v.model != "t5" && v.model != "none") {
    return absl::InvalidArgumentError(
        absl::StrFormat("unknown tokenizer \"%s\" (known: llama, gpt2, bert, t5, none)", v.model));
  }
  if (v.scores.size() != v.tokens.size() || v.types.size() != v.tokens.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d tokens have %d scores and %d types", v.tokens.size(), v.scores.size(), v.types.size()));
  }
  for (const int32_t id : {v.bos, v.eos, v.eot, v.unk, v.pad}) {
    if (id < -1 || id >= v.id_count) {
      return absl::InvalidArgumentError(absl::StrFormat("special token %d of a vocabulary of %d", id, v.id_count));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  special_tokens_ = std::make_unique<SpecialTokens>(vocabulary_);
  pieces_.reserve(vocabulary_.tokens.size());
  for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) pieces_.push_back(PieceBytes(vocabulary_, id));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  if (vocabulary.scores.empty()) vocabulary.scores.resize(vocabulary.tokens.size(), 0.0f);
  if (vocabulary.types.empty()) vocabulary.types.resize(vocabulary.tokens.size(), TokenType::kNormal);
  if (vocabulary.model != "none") vocabulary.id_count = static_cast<int64_t>(vocabulary.tokens.size());
  BARN_RETURN_IF_ERROR(CheckVocabulary(vocabulary));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(vocabulary)));
  if (tokenizer->vocabulary_.model == "llama") {
    tokenizer->encoder_ = std::make_unique<SpmEncoder>(tokenizer->vocabulary_);
  } else if (tokenizer->vocabulary_.model == "bert") {
    if (tokenizer->vocabulary_.unk < 0) {
      return absl::InvalidArgumentError("a WordPiece vocabulary without an unknown token");
    }
    tokenizer->encoder_ = std::make_unique<WordPieceEncoder>(tokenizer->vocabulary_);
  } else if (tokenizer->vocabulary_.model == "t5") {
    BARN_ASSIGN_OR_RETURN(tokenizer->encoder_, UnigramEncoder::Create(tokenizer->vocabulary_));
  } else if (tokenizer->vocabulary_.model == "gpt2") {
    BARN_ASSIGN_OR_RETURN(tokenizer->encoder_, BpeEncoder::Create(tokenizer->vocabulary_));
  }
  return tokenizer;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  if (encoder_ == nullptr) {
    return absl::InvalidArgumentError(
        "this model has no vocabulary (tokenizer.ggml.model is none): give token ids, not text");
  }
  if (text.size() > static_cast<size_t>(kTextBytesMax)) {
    return absl::InvalidArgumentError(absl::StrFormat("a text of %d bytes, at most %d", text.size(), kTextBytesMax));
  }
  std::vector<int32_t> ids;
  if (options.add_special && vocabulary_.add_bos) ids.push_back(vocabulary_.bos);
  bool after_token = !options.continues;  // The start counts as one: an SPM text gets its space there.
  for (const Fragment& fragment : special_tokens_->Split(text, options.parse_special)) {
    if (fragment.token >= 0) {
      ids.push_back(fragment.token);
      after_token = true;
      continue;
    }
    if (after_token && vocabulary_.add_space_prefix) {
      BARN_RETURN_IF_ERROR(encoder_->Append(std::string(" ").append(fragment.text), &ids));
    } else {
      BARN_RETURN_IF_ERROR(encoder_->Append(fragment.text, &ids));
    }
    after_token = false;
  }
  if (options.add_special && vocabulary_.add_eos) ids.push_back(vocabulary_.eos);
  return ids;
}

bool Tokenizer::IsSpecial(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= vocabulary_.types.size()) return false;
  const TokenType type = vocabulary_.types[id];
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

std::string Tokenizer::Piece(int32_t id, bool special) const {
  if (encoder_ == nullptr) return absl::StrCat("<", id, ">");
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size()) return "";
  return !special && IsSpecial(id) ? "" : pieces_[id];
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, DecodeOptions options) const {
  std::string text;
  bool drop_space = options.at_text_start && drops_leading_space();
  for (const int32_t id : ids) {
    const std::string piece = Piece(id, options.special);
    if (piece.empty()) continue;
    text.append(piece, drop_space && piece[0] == ' ' ? 1 : 0);
    drop_space = false;
  }
  return text;
}

}  // namespace barn
