#include "coordinator/text/wordpiece_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <nlohmann/json.hpp>

#include "coordinator/text/tokenizer.h"

namespace barn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

nlohmann::json Golden() {
  std::ifstream file(BARN_SOURCE_DIR "/tests/data/tokenizers/wordpiece.json");
  return nlohmann::json::parse(file);
}

// As a model file has it: "##s" is "s", "the" is "\u2581the".
GgufMetadata MetadataOf(const std::vector<std::string>& words) {
  GgufMetadata metadata;
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  for (const std::string& word : words) {
    const bool control = word.size() > 2 && word.front() == '[' && word.back() == ']';
    types.push_back(control ? 3 : 1);
    tokens.push_back(control ? word : word.starts_with("##") && word.size() > 2 ? word.substr(2) : "\u2581" + word);
  }
  metadata.Set("tokenizer.ggml.model", std::string("bert"));
  metadata.Set("tokenizer.ggml.tokens", tokens);
  metadata.Set("tokenizer.ggml.token_type", types);
  return metadata;
}

std::unique_ptr<Tokenizer> Make(const std::vector<std::string>& words) {
  return *Tokenizer::Create(*ReadVocabulary(MetadataOf(words)));
}

// Texts with accents, ideographs, white space of all kinds, control characters, long and unknown words.
TEST(WordPiece, AgreesWithTokenizers) {
  const nlohmann::json golden = Golden();
  for (const char* kind : {"uncased", "cased"}) {
    const auto tokenizer = Make(golden[kind]["vocabulary"].get<std::vector<std::string>>());
    ASSERT_GE(golden[kind]["cases"].size(), 37u);
    for (const nlohmann::json& one : golden[kind]["cases"]) {
      const auto ids = tokenizer->Encode(one["text"].get<std::string>());
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, one["ids"].get<std::vector<int32_t>>()) << kind << ": " << one["text"];
    }
  }
}

TEST(WordPiece, ControlTokensAreSpelledUnlessAskedFor) {
  const auto tokenizer = Make({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "[", "]", "sep"});
  EXPECT_THAT(*tokenizer->Encode("a[SEP]"), ElementsAre(2, 4, 5, 7, 6, 3));
  EXPECT_THAT(*tokenizer->Encode("a[SEP]", {.add_special = false, .parse_special = true}), ElementsAre(4, 3));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{2, 4, 7, 3}), "a sep");
}

TEST(WordPiece, BrokenUtf8IsDropped) {
  const auto tokenizer = Make({"[UNK]", "[CLS]", "[SEP]", "a", "##b"});
  EXPECT_THAT(*tokenizer->Encode("a\xff\xc3(b"), ElementsAre(1, 3, 0, 0, 2));  // "a", "(", "b"
  EXPECT_THAT(*tokenizer->Encode("a\xe2\x82"), ElementsAre(1, 3, 2));
}

TEST(WordPiece, AVocabularyNeedsAnUnknownToken) {
  GgufMetadata metadata = MetadataOf({"[CLS]", "[SEP]", "a"});
  EXPECT_THAT(ReadVocabulary(metadata).status().message(), HasSubstr("unknown token"));
  metadata.Set("tokenizer.ggml.unknown_token_id", uint64_t{3});
  EXPECT_THAT(ReadVocabulary(metadata).status().message(), HasSubstr("unknown_token_id is 3"));
}

TEST(WordPiece, FilesNameTheirTokens) {
  GgufMetadata metadata = MetadataOf({"[UNK]", "<s>", "</s>", "a"});
  metadata.Set("tokenizer.ggml.cls_token_id", uint64_t{1});
  metadata.Set("tokenizer.ggml.seperator_token_id", uint64_t{2});
  const auto tokenizer = *Tokenizer::Create(*ReadVocabulary(metadata));
  EXPECT_THAT(*tokenizer->Encode("a"), ElementsAre(1, 3, 2));
  EXPECT_TRUE(tokenizer->IsSpecial(1));
}

}  // namespace
}  // namespace barn
