#include "coordinator/text/incremental_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "coordinator/text/utf8.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

// Over random ids: each part is well-formed, and the parts together are the whole text with U+FFFD for what is broken.
TEST(IncrementalDecoder, NeverBreaksACharacter) {
  std::mt19937 random(11);
  for (const char* name : {"llama-spm", "qwen2", "phi-3"}) {
    const auto tokenizer = LoadTokenizer(VocabularyPath(name));
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 400; ++round) {
      const DecodeOptions options = {.special = round % 2 == 0, .at_text_start = round % 3 == 0};
      IncrementalDecoder decoder(*tokenizer, options);
      std::vector<int32_t> ids;
      std::string joined;
      for (int i = 0; i < 60; ++i) {
        // Every other id is among the first 300: byte tokens, which break characters.
        ids.push_back(static_cast<int32_t>(random() % (i % 2 == 0 ? 300 : tokenizer->size())));
        const std::string part = decoder.Push(ids.back());
        EXPECT_EQ(WellFormedPrefix(part), part.size());
        joined += part;
      }
      joined += decoder.Flush();
      EXPECT_EQ(joined, ReplaceBrokenUtf8(tokenizer->Decode(ids, options)));
    }
  }
}

TEST(IncrementalDecoder, HoldsAnEmojiUntilItIsWhole) {
  auto tokenizer = Tokenizer::Create(SmallSpmVocabulary({"a"}));
  ASSERT_TRUE(tokenizer.ok());
  IncrementalDecoder decoder(**tokenizer);
  EXPECT_EQ(decoder.Push(3 + 0xF0), "");
  EXPECT_EQ(decoder.Push(3 + 0x9F), "");
  EXPECT_EQ(decoder.Push(1), "");  // A special token in between prints nothing and breaks nothing.
  EXPECT_EQ(decoder.Push(3 + 0xA6), "");
  EXPECT_EQ(decoder.Push(3 + 0x99), "\xF0\x9F\xA6\x99");
  EXPECT_EQ(decoder.Push(3 + 0xC3), "");
  EXPECT_EQ(decoder.Push(259),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(decoder.Push(3 + 0xE4), "");
  EXPECT_EQ(decoder.Flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(IncrementalDecoder, AnAnswerKeepsItsFirstSpace) {
  Vocabulary v =
      SmallSpmVocabulary({"\xE2\x96\x81"
                          "a"});
  v.add_space_prefix = true;
  auto tokenizer = Tokenizer::Create(v);
  ASSERT_TRUE(tokenizer.ok());
  IncrementalDecoder answer(**tokenizer);
  EXPECT_EQ(answer.Push(259), " a");
  IncrementalDecoder text(**tokenizer, {.special = false, .at_text_start = true});
  EXPECT_EQ(text.Push(1), "");
  EXPECT_EQ(text.Push(259), "a");
  EXPECT_EQ(text.Push(259), " a");
}

}  // namespace
}  // namespace barn
