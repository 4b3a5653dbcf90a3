#include "coordinator/text/bpe_encoder.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "coordinator/text/byte_alphabet.h"
#include "coordinator/text/pre_tokenizer_families.h"
#include "coordinator/text/symbol_merge.h"
#include "coordinator/text/word_memo.h"
#include "proto/base/status.h"

namespace barn {

struct BpeEncoder::Scratch {
  SymbolMerger merger;
  std::vector<Symbol> symbols;
};

absl::StatusOr<std::unique_ptr<BpeEncoder>> BpeEncoder::Create(const Vocabulary& vocabulary) {
  const PreTokenizerFamily* family = FindPreTokenizerFamily(vocabulary.pre);
  if (family == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("tokenizer.ggml.pre: unknown pre-tokenizer \"%s\" (known: %s)",
                                                      vocabulary.pre, PreTokenizerNames()));
  }
  std::unique_ptr<BpeEncoder> encoder(new BpeEncoder());
  BARN_ASSIGN_OR_RETURN(encoder->pre_tokenizer_, PreTokenizer::Create(family->patterns));
  encoder->whole_words_first_ = family->whole_words_first;
  encoder->AddTokens(vocabulary);
  BARN_RETURN_IF_ERROR(encoder->AddMerges(vocabulary));
  return encoder;
}

int32_t BpeEncoder::Intern(std::string bytes) {
  const auto [at, is_new] = symbols_.try_emplace(std::move(bytes), static_cast<int32_t>(token_of_symbol_.size()));
  if (is_new) token_of_symbol_.push_back(-1);
  return at->second;
}

void BpeEncoder::AddTokens(const Vocabulary& vocabulary) {
  symbols_.reserve(vocabulary.tokens.size());
  for (int byte = 0; byte < 256; ++byte) byte_symbols_[byte] = Intern(std::string(1, static_cast<char>(byte)));
  std::string bytes;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    // Special texts are matched before words are cut, and are not written in the byte alphabet.
    if (vocabulary.types[i] != TokenType::kNormal || !AlphabetToBytes(vocabulary.tokens[i], &bytes) || bytes.empty())
      continue;
    token_of_symbol_[Intern(bytes)] = static_cast<int32_t>(i);
  }
}

absl::Status BpeEncoder::AddMerges(const Vocabulary& vocabulary) {
  merges_.reserve(vocabulary.merges.size());
  std::string left;
  std::string right;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    // A piece may not hold a space (the alphabet writes it as U+0120), so the first one separates.
    const std::string_view merge = vocabulary.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size() || merge.size() > 2 * kPieceBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tokenizer.ggml.merges[%d] (%d bytes) is not two pieces", rank, merge.size()));
    }
    // Text starts out as bytes, so a pair outside of their alphabet never comes up.
    if (!AlphabetToBytes(merge.substr(0, space), &left) || !AlphabetToBytes(merge.substr(space + 1), &right)) continue;
    const int32_t merged = Intern(absl::StrCat(left, right));
    merges_.try_emplace({Intern(left), Intern(right)}, Merge{static_cast<int32_t>(rank), merged});
  }
  return absl::OkStatus();
}

absl::Status BpeEncoder::AppendWord(std::string_view word, Scratch& scratch, std::vector<int32_t>* ids) const {
  if (whole_words_first_ && word.size() <= static_cast<size_t>(kPieceBytesMax)) {
    const auto symbol = symbols_.find(absl::string_view(word.data(), word.size()));
    if (symbol != symbols_.end() && token_of_symbol_[symbol->second] >= 0) {
      ids->push_back(token_of_symbol_[symbol->second]);
      return absl::OkStatus();
    }
  }
  scratch.symbols.clear();
  for (size_t i = 0; i < word.size(); ++i) {
    const int32_t symbol = byte_symbols_[static_cast<uint8_t>(word[i])];
    scratch.symbols.push_back({.begin = static_cast<int32_t>(i), .length_bytes = 1, .id = symbol});
  }
  scratch.merger.Run(scratch.symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<MergeResult> {
    const auto merge = merges_.find({left.id, right.id});
    if (merge == merges_.end()) return std::nullopt;
    return MergeResult{-static_cast<double>(merge->second.rank), merge->second.symbol};
  });
  for (int32_t i = 0; i >= 0; i = scratch.symbols[i].next) {
    const Symbol& symbol = scratch.symbols[i];
    if (token_of_symbol_[symbol.id] >= 0) {
      ids->push_back(token_of_symbol_[symbol.id]);
      continue;
    }
    // A merge made a string that is no token: its bytes stand for it.
    for (const char byte : word.substr(symbol.begin, symbol.length_bytes)) {
      const int32_t id = token_of_symbol_[byte_symbols_[static_cast<uint8_t>(byte)]];
      if (id < 0) {
        return absl::InvalidArgumentError(
            absl::StrFormat("the vocabulary has no token for byte 0x%02x", static_cast<uint8_t>(byte)));
      }
      ids->push_back(id);
    }
  }
  return absl::OkStatus();
}

absl::Status BpeEncoder::Append(std::string_view text, std::vector<int32_t>* ids) const {
  std::vector<std::string_view> words;
  BARN_RETURN_IF_ERROR(pre_tokenizer_->Split(text, &words));
  WordMemo memo;
  Scratch scratch;
  for (const std::string_view word : words) {
    BARN_RETURN_IF_ERROR(memo.Append(word, ids, [&] { return AppendWord(word, scratch, ids); }));
  }
  return absl::OkStatus();
}

}  // namespace barn
