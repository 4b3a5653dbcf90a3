#include "coordinator/text/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

using Words = std::vector<std::string_view>;

Words Split(const std::vector<std::string_view>& patterns, std::string_view text) {
  auto pre_tokenizer = PreTokenizer::Create(patterns);
  Words words;
  EXPECT_TRUE(pre_tokenizer.ok() && (*pre_tokenizer)->Split(text, &words).ok());
  return words;
}

TEST(PreTokenizer, GapsAreWords) {
  EXPECT_EQ(Split({"[0-9]"}, "ab12cd"), (Words{"ab", "1", "2", "cd"}));
  EXPECT_EQ(Split({"[0-9]"}, ""), Words{});
  EXPECT_EQ(Split({}, "as it is"), (Words{"as it is"}));
}

TEST(PreTokenizer, EachPatternSeesThePiecesOfTheOneBefore) {
  EXPECT_EQ(Split({"[0-9]+", R"(\s+(?!\S)|[a-z]+)"}, "ab  12"), (Words{"ab", "  ", "12"}));
}

TEST(PreTokenizer, WhiteSpaceIsUnicodes) {
  EXPECT_EQ(Split({R"(\s)"},
                  "a\xC2\xA0"
                  "b\xE3\x80\x80"
                  "c\xE1\xA0\x8E"
                  "d"),
            (Words{"a", "\xC2\xA0", "b", "\xE3\x80\x80",
                   "c\xE1\xA0\x8E"
                   "d"}));
  EXPECT_EQ(Split({R"([^\sb]+)"},
                  "aa b\xC2\x85"
                  "a"),
            (Words{"aa", " b\xC2\x85", "a"}));
  EXPECT_EQ(Split({R"(\S+)"}, "aa b"), (Words{"aa", " ", "b"}));
}

TEST(PreTokenizer, BrokenBytesStandAlone) {
  EXPECT_EQ(Split({R"(\p{L}+)"},
                  "ab\xFF\xC3"
                  "cd\xE4\xB8"),
            (Words{"ab", "\xFF", "\xC3", "cd", "\xE4", "\xB8"}));
}

TEST(PreTokenizer, RefusesAPatternThatDoesNotCompile) {
  EXPECT_EQ(PreTokenizer::Create({"(a"}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PreTokenizer, AnExplodingPatternEnds) {
  auto pre_tokenizer = PreTokenizer::Create({"(?:a|a?)+[bd]"});
  ASSERT_TRUE(pre_tokenizer.ok());
  Words words;
  EXPECT_EQ((*pre_tokenizer)->Split(std::string(5000, 'a') + "c", &words).code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace barn
