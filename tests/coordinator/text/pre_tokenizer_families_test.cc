#include "coordinator/text/pre_tokenizer_families.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "coordinator/text/pre_tokenizer.h"

namespace barn {
namespace {

std::unique_ptr<PreTokenizer> Make(std::string_view name) {
  const PreTokenizerFamily* family = FindPreTokenizerFamily(name);
  EXPECT_NE(family, nullptr) << name;
  auto made = PreTokenizer::Create(family->patterns);
  EXPECT_TRUE(made.ok()) << name << ": " << made.status();
  return made.ok() ? *std::move(made) : nullptr;
}

// The words, joined by bars.
std::string Split(std::string_view name, std::string_view text) {
  std::vector<std::string_view> words;
  EXPECT_TRUE(Make(name)->Split(text, &words).ok());
  std::string out;
  for (std::string_view word : words) out.append(out.empty() ? "" : "|").append(word);
  return out;
}

TEST(PreTokenizerFamilies, NamesAreUniqueAndPatternsCompile) {
  std::set<std::string_view> names;
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    EXPECT_TRUE(PreTokenizer::Create(family.patterns).ok()) << family.names[0];
    for (const std::string_view name : family.names) EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(FindPreTokenizerFamily("unheard-of"), nullptr);
  EXPECT_TRUE(absl::StrContains(PreTokenizerNames(), "llama-bpe, "));
}

struct Case {
  const char* family;
  const char* text;
  const char* words;
};

TEST(PreTokenizerFamilies, CutWords) {
  const Case cases[] = {
      {"gpt-2", "I'll pay  12345 now!!\n", "I|'ll| pay| | 12345| now|!!|\n"},
      {"llama-bpe", "I'LL pay  12345 now!!\n\nx", "I|'LL| pay| | |123|45| now|!!\n\n|x"},
      {"qwen2", "a 123\n  b", "a| |1|2|3|\n| | b"},
      {"starcoder", "a 123", "a| |1|2|3"},
      {"falcon", "a,b 12345", "a|,|b| |123|45"},
      {"default", "a+b 1234", "a|+|b| |123|4"},
      {"gpt-4o", "HelloWorld it'S 12/\n", "Hello|World| it'S| |12|/\n"},
      {"tekken", "HelloWORLD it's 12", "Hello|WORLD| it|'s| |1|2"},
      {"deepseek-v3", "x=1234 ab,cd", "x|=|123|4| ab|,cd"},
      {"deepseek-coder", "ab, 12\n", "ab|,| |1|2|\n"},
      {"deepseek-llm", "ab, 12\n", "ab|,| |12|\n"},
      {"deepseek-llm", "ab  ", "ab|  "},
      {"kimi-k2",
       "ab\xE4\xB8\xAD\xE6\x96\x87"
       "cd",
       "ab|\xE4\xB8\xAD\xE6\x96\x87|cd"},
      {"kimi-k2", "HelloWorld", "Hello|World"},
      {"qwen35", "e\xCC\x81t 12", "e\xCC\x81t| |1|2"},
      {"bloom", "ab, cd", "ab|,| cd"},
  };
  for (const Case& c : cases) EXPECT_EQ(Split(c.family, c.text), c.words) << c.family;
}

// No family needs more than a few steps per byte, whatever repeats.
TEST(PreTokenizerFamilies, HostileTextTakesBoundedTime) {
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    const auto pre_tokenizer = Make(family.names[0]);
    for (const std::string unit : {" ", "\t", "\n", "\r", " \n", "a", "A", "aA", "1", ".", "'", "'s", "\xE4\xB8\xAD",
                                   "\xE4\xB8\xAD"
                                   "A",
                                   "\xCC\x81"}) {
      std::string text;
      while (text.size() < 1 << 18) text += unit;
      text += "x";
      std::vector<std::string_view> words;
      const auto start = std::chrono::steady_clock::now();
      const absl::Status status = pre_tokenizer->Split(text, &words);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_TRUE(status.ok()) << family.names[0] << ": " << status;
      EXPECT_LT(seconds.count(), 5) << family.names[0] << " on " << testing::PrintToString(unit);
    }
  }
}

}  // namespace
}  // namespace barn
