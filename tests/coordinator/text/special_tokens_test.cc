#include "coordinator/text/special_tokens.h"

#include <gtest/gtest.h>

#include <string>

namespace barn {
namespace {

struct Token {
  std::string text;
  TokenType type = TokenType::kNormal;
};

Vocabulary Make(const std::vector<Token>& tokens) {
  Vocabulary v;
  for (const Token& token : tokens) {
    v.tokens.push_back(token.text);
    v.types.push_back(token.type);
  }
  v.id_count = static_cast<int64_t>(tokens.size());
  return v;
}

// "text" for raw text, "#id" for a token.
std::vector<std::string> Split(const Vocabulary& v, std::string_view text, bool parse_special) {
  std::vector<std::string> out;
  for (const Fragment& f : SpecialTokens(v).Split(text, parse_special)) {
    out.push_back(f.token < 0 ? std::string(f.text) : "#" + std::to_string(f.token));
  }
  return out;
}

using Parts = std::vector<std::string>;

TEST(SpecialTokens, ControlTokensOnRequestOnly) {
  const Vocabulary v =
      Make({{"<s>", TokenType::kControl}, {"<unk>", TokenType::kUnknown}, {"ab"}, {"<u>", TokenType::kUserDefined}});
  EXPECT_EQ(Split(v, "<s>ab<unk>c<u>", true), (Parts{"#0", "ab", "#1", "c", "#3"}));
  EXPECT_EQ(Split(v, "<s>ab<unk>c<u>", false), (Parts{"<s>ab<unk>c", "#3"}));
  EXPECT_EQ(Split(v, "", true), Parts{});
  EXPECT_EQ(Split(v, "<s><s>", true), (Parts{"#0", "#0"}));
}

TEST(SpecialTokens, LongerTokensWinAnywhere) {
  const Vocabulary v = Make({{"  ", TokenType::kUserDefined},
                             {"    ", TokenType::kUserDefined},
                             {"ab", TokenType::kUserDefined},
                             {"bcd", TokenType::kUserDefined}});
  EXPECT_EQ(Split(v, std::string(7, ' '), false), (Parts{"#1", "#0", " "}));
  EXPECT_EQ(Split(v, "abcd", false), (Parts{"a", "#3"}));
  EXPECT_EQ(Split(v, "abc", false), (Parts{"#2", "c"}));
}

TEST(SpecialTokens, OneByteAndEmptyTexts) {
  const Vocabulary v = Make({{"", TokenType::kControl}, {"|", TokenType::kControl}});
  EXPECT_EQ(Split(v, "a|b|", true), (Parts{"a", "#1", "b", "#1"}));
}

TEST(SpecialTokens, Phi3SwallowsWhiteSpace) {
  Vocabulary v = Make({{"<|end|>", TokenType::kControl}, {"<s>", TokenType::kControl}});
  EXPECT_EQ(Split(v, "<|end|> \n a", true), (Parts{"#0", " \n a"}));
  v.model_name = "Phi-3 Mini 4k Instruct";
  EXPECT_EQ(Split(v, "<|end|> \n a<s> b<|end|>\n", true), (Parts{"#0", "a", "#1", " b", "#0"}));
}

TEST(MarkKnownTokens, FindsTheEnds) {
  Vocabulary v = Make({{"a"}, {"<|im_end|>"}, {"</s>"}, {"<|fim_prefix|>"}, {"<eos>", TokenType::kControl}, {"b"}});
  v.eos = 4;
  MarkKnownTokens(v);
  EXPECT_EQ(v.end_of_generation, (std::set<int32_t>{1, 2, 4}));
  EXPECT_EQ(v.types[1], TokenType::kControl);
  EXPECT_EQ(v.types[3], TokenType::kControl);
  EXPECT_EQ(v.types[0], TokenType::kNormal);
}

TEST(MarkKnownTokens, GptOssGoesOnAfterAMessage) {
  Vocabulary v = Make({{"<|end|>"}, {"<|return|>"}, {"<|call|>"}});
  v.eos = 1;
  MarkKnownTokens(v);
  EXPECT_EQ(v.end_of_generation, (std::set<int32_t>{1, 2}));
  Vocabulary phi = Make({{"<|end|>"}});
  MarkKnownTokens(phi);
  EXPECT_EQ(phi.end_of_generation, (std::set<int32_t>{0}));
}

}  // namespace
}  // namespace barn
