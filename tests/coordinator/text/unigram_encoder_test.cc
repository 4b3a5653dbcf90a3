#include "coordinator/text/unigram_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "coordinator/text/tokenizer.h"

namespace barn {
namespace {

using testing::HasSubstr;

nlohmann::json Golden() {
  std::ifstream file(BARN_SOURCE_DIR "/tests/data/tokenizers/unigram.json");
  return nlohmann::json::parse(file);
}

std::string CharsmapOf(const nlohmann::json& golden) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(golden["charsmap"].get<std::string>(), &bytes));
  return bytes;
}

GgufMetadata MetadataOf(const nlohmann::json& golden) {
  GgufMetadata metadata;
  metadata.Set("tokenizer.ggml.model", std::string("t5"));
  metadata.Set("tokenizer.ggml.tokens", golden["pieces"].get<std::vector<std::string>>());
  metadata.Set("tokenizer.ggml.scores", golden["scores"].get<std::vector<double>>());
  metadata.Set("tokenizer.ggml.token_type", golden["types"].get<std::vector<int64_t>>());
  metadata.Set("tokenizer.ggml.unknown_token_id", uint64_t{0});
  metadata.Set("tokenizer.ggml.bos_token_id", uint64_t{1});
  metadata.Set("tokenizer.ggml.eos_token_id", uint64_t{2});
  metadata.Set("tokenizer.ggml.remove_extra_whitespaces", true);
  std::vector<int64_t> bytes;
  for (const char byte : CharsmapOf(golden)) bytes.push_back(static_cast<uint8_t>(byte));
  metadata.Set("tokenizer.ggml.precompiled_charsmap", bytes);
  return metadata;
}

TEST(Unigram, AgreesWithSentencePiece) {
  const nlohmann::json golden = Golden();
  const auto tokenizer = *Tokenizer::Create(*ReadVocabulary(MetadataOf(golden)));
  ASSERT_GE(golden["cases"].size(), 46u);
  for (const nlohmann::json& one : golden["cases"]) {
    const auto ids = tokenizer->Encode(one["text"].get<std::string>(), {.add_special = false});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, one["ids"].get<std::vector<int32_t>>()) << one["text"];
  }
}

TEST(Unigram, BeginAndEndAsTheFileSays) {
  GgufMetadata metadata = MetadataOf(Golden());
  EXPECT_EQ((*Tokenizer::Create(*ReadVocabulary(metadata)))->Encode("kamo")->back(), 2);
  metadata.Set("tokenizer.ggml.add_bos_token", true);
  metadata.Set("tokenizer.ggml.add_eos_token", false);
  const auto tokenizer = *Tokenizer::Create(*ReadVocabulary(metadata));
  EXPECT_EQ(tokenizer->Encode("kamo")->front(), 1);
  EXPECT_NE(tokenizer->Encode("kamo")->back(), 2);
  EXPECT_EQ(tokenizer->Decode(*tokenizer->Encode("kamo rita")), "kamo rita");
}

TEST(Unigram, ALongTextIsThatOfItsParts) {
  const auto tokenizer = *Tokenizer::Create(*ReadVocabulary(MetadataOf(Golden())));
  const std::vector<int32_t> one = *tokenizer->Encode("kamo rita", {.add_special = false});
  std::string text;
  std::vector<int32_t> want;
  for (int i = 0; i < 20000; ++i) {
    text += i == 0 ? "kamo rita" : " kamo rita";
    want.insert(want.end(), one.begin(), one.end());
  }
  EXPECT_EQ(*tokenizer->Encode(text, {.add_special = false}), want);
  // A word that is longer than a part ends somewhere, but every character stays.
  EXPECT_EQ(tokenizer->Decode(*tokenizer->Encode(std::string(200000, 'k'))).size(), 200000u);
}

TEST(Charsmap, RefusesBrokenTablesAndBoundsHostileOnes) {
  EXPECT_THAT(Charsmap::Create("abc").status().message(), HasSubstr("less than 4 bytes"));
  EXPECT_THAT(Charsmap::Create(std::string("\x08\0\0\0abcd", 8)).status().message(), HasSubstr("8 bytes in 4"));
  EXPECT_THAT(Charsmap::Create(std::string("\x03\0\0\0abcd", 8)).status().message(), HasSubstr("3 bytes in 4"));
  // Every byte of a true table, changed: whatever comes out, nothing is read beside it.
  const std::string good = CharsmapOf(Golden());
  for (size_t i = 4; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x5A);
    const auto map = Charsmap::Create(bad);
    ASSERT_TRUE(map.ok());
    for (std::string_view text = "\uFF21\u3000e\u0301\u2026\xff x"; !text.empty();) {
      std::string out;
      const size_t bytes = map->Append(text, out);
      ASSERT_TRUE(bytes >= 1 && bytes <= text.size());
      text.remove_prefix(bytes);
    }
  }
}

}  // namespace
}  // namespace barn
