#include "coordinator/text/tools/thought_limit.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

const AnswerFormat kThink = {.family = CallFamily::kTagged, .think_begin = "<think>", .think_end = "</think>"};

class ThoughtLimitTest : public ::testing::Test {
 protected:
  // The text that a watch has seen when it calls for the closing tokens, one byte a token; all of it if it never does.
  std::string SeenBytes(const AnswerFormat& format, bool begun, int64_t tokens, const std::string& text) {
    return Seen(*bytes_, format, begun, tokens, ByteIds(text));
  }
  static std::string Seen(const Tokenizer& tokenizer, const AnswerFormat& format, bool begun, int64_t tokens,
                          const std::vector<int32_t>& ids) {
    ThoughtWatch watch(*MakeThoughtLimit(format, tokenizer, begun, tokens, ""));
    std::string seen;
    for (const int32_t id : ids) {
      const bool near = watch.near();
      seen += tokenizer.Piece(id, true);
      if (!watch.Push(id)) continue;
      EXPECT_TRUE(near) << "behind " << seen;
      return seen;
    }
    return absl::StrCat(seen, " (all)");
  }
  static std::vector<int32_t> ByteIds(const std::string& text) {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(3 + static_cast<uint8_t>(c));
    return ids;
  }

  const std::unique_ptr<Tokenizer> bytes_ = *Tokenizer::Create(SmallSpmVocabulary({"\xE2\x96\x81"}));
};

TEST_F(ThoughtLimitTest, CountsWhatStandsBehindTheBegin) {
  EXPECT_EQ(SeenBytes(kThink, true, 3, "abcdef"), "abc");
  EXPECT_EQ(SeenBytes(kThink, false, 3, "<think>abcdef"), "<think>abc");
  EXPECT_EQ(SeenBytes(kThink, false, 3, "\n <think>abcdef"), "\n <think>abc");
  EXPECT_EQ(SeenBytes(kThink, false, 0, "<think>abcdef"), "<think>");
}

TEST_F(ThoughtLimitTest, ThoughtsThatEndInTimeAreLeftAlone) {
  EXPECT_EQ(SeenBytes(kThink, true, 20, "abc</think>and a long answer behind it"),
            "abc</think>and a long answer behind it (all)");
  EXPECT_EQ(SeenBytes(kThink, true, 11, "abc</think>and on"), "abc</think>and on (all)")
      << "the mark is the last token";
  EXPECT_EQ(SeenBytes(kThink, false, 3, "An answer, <think>abcdef"), "An answer, <think>abcdef (all)");
  EXPECT_EQ(SeenBytes(kThink, false, 3, "<thinner>abcdef"), "<thinner>abcdef (all)");
}

TEST_F(ThoughtLimitTest, NeitherACharacterNorAMarkIsCut) {
  EXPECT_EQ(SeenBytes(kThink, true, 2, "a\xE2\x82\xACz"), "a\xE2\x82\xAC");
  EXPECT_EQ(SeenBytes(kThink, true, 5, "abc</think>and on"), "abc</think>and on (all)") << "it ends by itself";
  EXPECT_EQ(SeenBytes(kThink, true, 5, "abc</thumb>"), "abc</thu");
  // Bytes that never become a character, or a mark that never ends, are waited for a little only.
  EXPECT_EQ(SeenBytes(kThink, true, 2, "<<<<<<<<<<<<<<<<<<<<").size(), 10u);
  EXPECT_EQ(SeenBytes(kThink, true, 2, "a\xFF\xFFzz"), "a\xFF");
}

TEST_F(ThoughtLimitTest, HarmonyHasALimitForAllItsThoughts) {
  const AnswerFormat harmony = {.family = CallFamily::kHarmony};
  const std::string open = "<|channel|>analysis<|message|>";
  EXPECT_EQ(SeenBytes(harmony, false, 4, open + "abcdef"), open + "abcd");
  const std::string call = open + "abc<|end|><|start|>assistant<|channel|>commentary<|message|>a call and more";
  EXPECT_EQ(SeenBytes(harmony, false, 20, call), call + " (all)");
  // The end mark has 7 bytes; the last thought begins without one in front of it.
  EXPECT_EQ(SeenBytes(harmony, false, 12, open + "ab<|end|>" + open + "cdefgh"), open + "ab<|end|>" + open + "cde");
  EXPECT_EQ(SeenBytes(harmony, false, 20, open + "ab" + open + "cdefghijk"), open + "ab" + open + "cdefghi");
}

TEST_F(ThoughtLimitTest, ClosingIsTheModelsOwnMark) {
  const auto text = [&](const AnswerFormat& format, const char* message) {
    return bytes_->Decode((*MakeThoughtLimit(format, *bytes_, true, 5, message))->closing, {.special = true});
  };
  EXPECT_EQ(text(kThink, ""), "</think>\n\n");
  EXPECT_EQ(text(kThink, "Enough."), "Enough.\n</think>\n\n");
  EXPECT_EQ(text({.family = CallFamily::kHarmony}, "Enough."),
            "Enough.<|end|><|start|>assistant<|channel|>final<|message|>");
  EXPECT_EQ(*MakeThoughtLimit({.family = CallFamily::kTagged}, *bytes_, false, 5, ""), nullptr) << "nothing marks any";
}

// A vocabulary of words, in which no token is a mark.
TEST_F(ThoughtLimitTest, MarksMayStandAcrossTokens) {
  const std::unique_ptr<Tokenizer> llama = LoadTokenizer(VocabularyPath("llama-spm"));
  ASSERT_NE(llama, nullptr);
  const auto ids = [&](const std::string& text) { return *llama->Encode(text, {.add_special = false}); };
  const std::vector<int32_t> thought = ids("<think>One two three.</think>Four five six seven eight nine.");
  EXPECT_GE(thought.size(), 15u);
  const std::string all = llama->Decode(thought);
  EXPECT_EQ(Seen(*llama, kThink, false, 12, thought), absl::StrCat(" ", all, " (all)"));
  EXPECT_EQ(Seen(*llama, kThink, false, 2, thought), " <think>One two");
}

}  // namespace
}  // namespace barn
