#include "coordinator/text/infill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/text/byte_alphabet.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;
using testing::ElementsAre;
using testing::HasSubstr;

// 256 bytes in order, then control tokens.
std::unique_ptr<Tokenizer> Bytes(const std::vector<std::string>& marks) {
  Vocabulary v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(ByteToAlphabet(static_cast<uint8_t>(byte)));
  v.types.resize(256, TokenType::kNormal);
  v.tokens.insert(v.tokens.end(), marks.begin(), marks.end());
  v.types.resize(v.tokens.size(), TokenType::kControl);
  v.id_count = std::ssize(v.tokens);
  return *Tokenizer::Create(std::move(v));
}

constexpr int32_t kPrefix = 256, kSuffix = 257, kMiddle = 258, kFile = 259;

std::unique_ptr<Tokenizer> Qwen() {
  return Bytes({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"});
}

// Bytes as letters, marks as <p>, <s>, <m>, <f>.
std::string Shown(const absl::StatusOr<Ids>& ids) {
  if (!ids.ok()) return ids.status().ToString();
  std::string text;
  for (const int32_t id : *ids) {
    if (id < 256) {
      text.push_back(static_cast<char>(id));
    } else {
      text += std::string("<") + "psmf"[id - kPrefix] + ">";
    }
  }
  return text;
}

TEST(Infill, MarksStandAroundTheGap) {
  EXPECT_EQ(Shown(InfillPrompt(*Qwen(), {.before = "abc", .after = "xyz", .begun = "d"}, 100)), "<p>abc<s>xyz<m>d");
}

TEST(Infill, OtherFilesComeFirstUnderTheirNames) {
  const InfillText text = {.before = "a", .after = "z", .others = {{"one.c", "int one;"}, {"two.c", "int two;"}}};
  EXPECT_EQ(Shown(InfillPrompt(*Qwen(), text, 100)), "<f>one.c\nint one;\n<f>two.c\nint two;\n<f><p>a<s>z<m>");
  EXPECT_EQ(Shown(InfillPrompt(*Bytes({"<fim-prefix>", "<fim-suffix>", "<fim-middle>"}), text, 100)),
            "--- one.c ---\nint one;\n--- two.c ---\nint two;\n<p>a<s>z<m>");
}

TEST(Infill, WithoutAMarkForTheMiddleTheSuffixComesFirst) {
  const auto codestral = Bytes({"[PREFIX]", "[SUFFIX]"});
  EXPECT_EQ(Shown(InfillPrompt(*codestral, {.before = "abc", .after = "xyz"}, 100)), "<s>xyz<p>abc");
}

TEST(Infill, WhatIsFarthestFromTheGapGoesFirst) {
  const auto prompt = [](const InfillText& text, int64_t tokens) { return Shown(InfillPrompt(*Qwen(), text, tokens)); };
  const std::string before = "abcdefghijklmnop", after = "ABCDEFGHIJKLMNOP";
  EXPECT_EQ(prompt({.before = before, .after = after}, 3 + 8), "<p>klmnop<s>AB<m>");
  EXPECT_EQ(prompt({.before = "op", .after = after}, 3 + 8), "<p>op<s>ABCDEF<m>") << "room that nobody else needs";
  EXPECT_EQ(prompt({.before = before, .after = "A"}, 3 + 8), "<p>jklmnop<s>A<m>");
  const std::vector<InfillFile> others = {{"1", "first"}, {"2", "last"}};
  EXPECT_EQ(prompt({.before = "op", .after = "A", .others = others}, 4 + 3 + 8), "<f>2\nlast\n<f><p>op<s>A<m>");
  EXPECT_EQ(prompt({.before = before, .after = after, .others = others}, 4 + 8), "<p>klmnop<s>AB<m>");
  for (int64_t tokens = 4; tokens < 80; ++tokens) {
    const auto ids = InfillPrompt(*Qwen(), {.before = before, .after = after, .others = others}, tokens);
    ASSERT_TRUE(ids.ok()) << tokens << ids.status();
    EXPECT_LE(std::ssize(*ids), tokens);
  }
}

TEST(Infill, TextsNeverBecomeMarks) {
  const auto ids = InfillPrompt(*Qwen(), {.before = "<|fim_middle|>", .after = "<|fim_prefix|>"}, 100);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), kMiddle), 1);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), kPrefix), 1);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), kFile), 0);
}

TEST(Infill, SaysWhatIsMissing) {
  EXPECT_EQ(InfillPrompt(*Bytes({"<|fim_prefix|>"}), {}, 100).status().code(), absl::StatusCode::kUnimplemented);
  const absl::Status small = InfillPrompt(*Qwen(), {.begun = "abc"}, 5).status();
  EXPECT_EQ(small.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(small.message(), HasSubstr("6 are needed"));
}

}  // namespace
}  // namespace barn
