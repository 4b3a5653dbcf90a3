#include "coordinator/text/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/pre_tokenizer_families.h"
#include "coordinator/text/special_tokens.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr char kModels[] = "llama, gpt2, bert, t5, none";
// Ids travel as int32; the largest vocabularies have some 300,000 entries.
constexpr int64_t kTokensMax = 1 << 24;

std::string Key(const char* name) { return absl::StrCat("tokenizer.ggml.", name); }

absl::Status ReadTokens(const GgufMetadata& metadata, Vocabulary& v) {
  const std::vector<std::string>* tokens = metadata.Strings(Key("tokens"));
  if (tokens == nullptr || tokens->empty())
    return absl::InvalidArgumentError("tokenizer.ggml.tokens is missing or empty");
  const auto count = static_cast<int64_t>(tokens->size());
  if (count > kTokensMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tokenizer.ggml.tokens has %d entries, at most %d", count, kTokensMax));
  }
  v.tokens = *tokens;
  v.id_count = count;
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<int64_t>(v.tokens[i].size()) > kPieceBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tokenizer.ggml.tokens[%d] has %d bytes, at most %d", i, v.tokens[i].size(), kPieceBytesMax));
    }
  }
  const auto scores = metadata.Floats(Key("scores")).value_or(std::vector<double>(count, 0.0));
  const auto types = metadata.Ints(Key("token_type")).value_or(std::vector<int64_t>(count, 1));
  for (auto [name, size] : {std::pair("scores", scores.size()), std::pair("token_type", types.size())}) {
    if (static_cast<int64_t>(size) != count) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tokenizer.ggml.%s has %d entries, tokenizer.ggml.tokens has %d", name, size, count));
    }
  }
  v.scores.assign(scores.begin(), scores.end());
  for (const int64_t type : types) {
    const bool known = type >= 1 && type <= static_cast<int64_t>(TokenType::kByte);
    v.types.push_back(known ? static_cast<TokenType>(type) : TokenType::kNormal);
  }
  if (const std::vector<std::string>* merges = metadata.Strings(Key("merges"))) v.merges = *merges;
  return absl::OkStatus();
}

// Reads an id; a file may say -1 (as uint32: 4294967295) for "none".
absl::Status ReadId(const GgufMetadata& metadata, const char* name, int64_t fallback, int64_t id_count, int32_t& id) {
  const int64_t value = metadata.Int(Key(name)).value_or(fallback < id_count ? fallback : -1);
  if (value == -1 || value == UINT32_MAX) {
    id = -1;
    return absl::OkStatus();
  }
  if (value < 0 || value >= id_count) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tokenizer.ggml.%s is %d, the vocabulary has %d entries", name, value, id_count));
  }
  id = static_cast<int32_t>(value);
  return absl::OkStatus();
}

absl::Status ReadIds(const GgufMetadata& metadata, bool is_spm, Vocabulary& v) {
  // What the first SPM models (Llama 1 and 2) had before files said it.
  BARN_RETURN_IF_ERROR(ReadId(metadata, "bos_token_id", is_spm ? 1 : -1, v.id_count, v.bos));
  BARN_RETURN_IF_ERROR(ReadId(metadata, "eos_token_id", is_spm ? 2 : -1, v.id_count, v.eos));
  BARN_RETURN_IF_ERROR(ReadId(metadata, "unknown_token_id", is_spm ? 0 : -1, v.id_count, v.unk));
  BARN_RETURN_IF_ERROR(ReadId(metadata, "eot_token_id", -1, v.id_count, v.eot));
  return ReadId(metadata, "padding_token_id", -1, v.id_count, v.pad);
}

int64_t FindToken(const Vocabulary& v, std::string_view text) {
  const auto found = std::find(v.tokens.begin(), v.tokens.end(), text);
  return found == v.tokens.end() ? -1 : found - v.tokens.begin();
}

// BERT puts a classification token before a text and a separator behind it; files name them or have BERT's own texts.
absl::StatusOr<Vocabulary> FinishWordPiece(const GgufMetadata& metadata, Vocabulary v) {
  if (v.bos < 0) BARN_RETURN_IF_ERROR(ReadId(metadata, "cls_token_id", FindToken(v, "[CLS]"), v.id_count, v.bos));
  BARN_RETURN_IF_ERROR(ReadId(metadata, "seperator_token_id", FindToken(v, "[SEP]"), v.id_count, v.eos));
  if (v.unk < 0) v.unk = static_cast<int32_t>(FindToken(v, "[UNK]"));
  if (v.unk < 0) return absl::InvalidArgumentError("a WordPiece vocabulary without an unknown token");
  for (const int32_t id : {v.bos, v.eos, v.unk, v.pad}) {
    if (id >= 0) v.types[static_cast<size_t>(id)] = id == v.unk ? TokenType::kUnknown : TokenType::kControl;
  }
  v.add_bos = metadata.Bool(Key("add_bos_token")).value_or(true) && v.bos >= 0;
  v.add_eos = metadata.Bool(Key("add_sep_token")).value_or(true) && v.eos >= 0;
  return v;
}

absl::StatusOr<Vocabulary> FinishUnigram(const GgufMetadata& metadata, Vocabulary v) {
  const std::vector<int64_t> charsmap = metadata.Ints(Key("precompiled_charsmap")).value_or(std::vector<int64_t>());
  v.charsmap.reserve(charsmap.size());
  for (const int64_t byte : charsmap) v.charsmap.push_back(static_cast<char>(byte));
  v.removes_extra_spaces = metadata.Bool(Key("remove_extra_whitespaces")).value_or(false);
  v.puts_space_before = metadata.Bool(Key("add_space_prefix")).value_or(true);
  v.add_bos = metadata.Bool(Key("add_bos_token")).value_or(false) && v.bos >= 0;
  v.add_eos = metadata.Bool(Key("add_eos_token")).value_or(true) && v.eos >= 0;
  BARN_RETURN_IF_ERROR(ReadId(metadata, "seperator_token_id", v.add_eos ? v.eos : -1, v.id_count, v.pair_separator));
  return v;
}

}  // namespace

absl::StatusOr<Vocabulary> ReadVocabulary(const GgufMetadata& metadata) {
  Vocabulary v;
  v.model = metadata.String(Key("model")).value_or("none");
  v.model_name = metadata.String("general.name").value_or("");
  v.chat_template = metadata.String("tokenizer.chat_template").value_or("");
  if (v.model == "none") {
    const std::string architecture = metadata.String("general.architecture").value_or("");
    v.id_count =
        std::clamp<int64_t>(metadata.Int(absl::StrCat(architecture, ".vocab_size")).value_or(0), 0, kTokensMax);
    return v;
  }
  if (v.model != "llama" && v.model != "gpt2" && v.model != "bert" && v.model != "t5") {
    return absl::InvalidArgumentError(
        absl::StrFormat("tokenizer.ggml.model: unknown tokenizer \"%s\" (known: %s)", v.model, kModels));
  }
  const bool is_spm = v.model == "llama";
  BARN_RETURN_IF_ERROR(ReadTokens(metadata, v));
  BARN_RETURN_IF_ERROR(ReadIds(metadata, is_spm, v));
  if (v.model == "bert") return FinishWordPiece(metadata, std::move(v));
  if (v.model == "t5") return FinishUnigram(metadata, std::move(v));
  bool add_bos = is_spm;
  if (!is_spm) {
    v.pre = metadata.String(Key("pre")).value_or("default");
    const PreTokenizerFamily* family = FindPreTokenizerFamily(v.pre);
    if (family == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tokenizer.ggml.pre: unknown pre-tokenizer \"%s\" (known: %s)", v.pre, PreTokenizerNames()));
    }
    add_bos = family->add_bos;
  }
  v.add_bos = metadata.Bool(Key("add_bos_token")).value_or(add_bos) && v.bos >= 0;
  v.add_eos = metadata.Bool(Key("add_eos_token")).value_or(false) && v.eos >= 0;
  BARN_RETURN_IF_ERROR(ReadId(metadata, "seperator_token_id", v.add_eos ? v.eos : -1, v.id_count, v.pair_separator));
  v.add_space_prefix = is_spm && metadata.Bool(Key("add_space_prefix")).value_or(true);
  MarkKnownTokens(v);
  return v;
}

}  // namespace barn
