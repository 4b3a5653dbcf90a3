#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/text/tokenizer.h"
#include "coordinator/text/vocabulary.h"
#include "sharding/gguf.h"

namespace barn {

inline std::string OraclePath(const std::string& name) { return std::string(BARN_SOURCE_DIR) + "/../shared/" + name; }

inline std::string VocabularyPath(const std::string& name) {
  return OraclePath("oracles/tokenizers/ggml-vocab-" + name + ".gguf");
}

inline std::string ReadFileOrDie(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline absl::StatusOr<Vocabulary> LoadVocabulary(const std::string& path) {
  auto model = GgufModel::Open(path);
  if (!model.ok()) return model.status();
  return ReadVocabulary((*model)->metadata());
}

// The tokenizer of a model file; a failed test and null if it cannot be had.
inline std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& path) {
  auto vocabulary = LoadVocabulary(path);
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  if (!vocabulary.ok()) return nullptr;
  auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

// A small SPM vocabulary: <unk> 0, <s> 1, </s> 2, byte tokens 3 to 258, then `pieces` with scores -1, -2, ...
inline Vocabulary SmallSpmVocabulary(const std::vector<std::string>& pieces) {
  Vocabulary v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>"};
  v.types = {TokenType::kUnknown, TokenType::kControl, TokenType::kControl};
  v.scores = {0, 0, 0};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    snprintf(text, sizeof(text), "<0x%02X>", byte);
    v.tokens.push_back(text);
    v.types.push_back(TokenType::kByte);
    v.scores.push_back(0);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    v.tokens.push_back(pieces[i]);
    v.types.push_back(TokenType::kNormal);
    v.scores.push_back(-1.0f - static_cast<float>(i));
  }
  v.unk = 0;
  v.bos = 1;
  v.eos = 2;
  v.id_count = static_cast<int64_t>(v.tokens.size());
  return v;
}

}  // namespace barn
