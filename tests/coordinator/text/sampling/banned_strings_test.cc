#include "coordinator/text/sampling/banned_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

// One token for each of these, and nothing else.
std::unique_ptr<Tokenizer> Letters() {
  return *Tokenizer::Create(SmallSpmVocabulary({"a", "b", "c", "ab", "B", "bca", "cab"}));
}

int32_t Id(const Tokenizer& tokenizer, const std::string& piece) {
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.Piece(id, false) == piece) return id;
  }
  ADD_FAILURE() << piece;
  return -1;
}

TEST(BannedStrings, HoldsWhatMayBecomeOne) {
  const auto tokenizer = Letters();
  BannedStrings banned({"abc"}, *tokenizer);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "c")), 0);
  EXPECT_EQ(banned.held(), 0);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "a")), 0);
  EXPECT_EQ(banned.held(), 1);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "b")), 0);
  EXPECT_EQ(banned.held(), 2);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "a")), 0) << "aba: only the last may begin one";
  EXPECT_EQ(banned.held(), 1);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "bca")), 2) << "back to the token in which it begins";
  EXPECT_EQ(banned.held(), 0);
}

TEST(BannedStrings, CaseDoesNotMatter) {
  const auto tokenizer = Letters();
  BannedStrings banned({"Bc"}, *tokenizer);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "B")), 0);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "cab")), 2);
}

// After "b" was free, "abc" is taken back to it; then "bb" is complete, but only its second half can be taken back.
TEST(BannedStrings, AStringMayBeginInWhatIsFree) {
  const auto tokenizer = Letters();
  BannedStrings banned({"abc", "bb"}, *tokenizer);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "b")), 0);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "a")), 0);
  EXPECT_EQ(banned.held(), 1) << "b is free";
  EXPECT_EQ(banned.Push(Id(*tokenizer, "bca")), 2);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "b")), 1);
  EXPECT_EQ(banned.Push(Id(*tokenizer, "c")), 0);
}

// What stays can be read in full, has no banned string, and would have one with what was taken back.
TEST(BannedStrings, WhatStaysIsClean) {
  const auto tokenizer = Letters();
  const std::vector<int32_t> ids = {Id(*tokenizer, "a"), Id(*tokenizer, "b"),   Id(*tokenizer, "c"),
                                    Id(*tokenizer, "B"), Id(*tokenizer, "bca"), Id(*tokenizer, "cab")};
  const std::vector<std::string> strings = {"abca", "bb", "cc", "acab"};
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    BannedStrings banned(strings, *tokenizer);
    std::vector<int32_t> tokens;
    int64_t seen = 0;  // Tokens that somebody may have read.
    const auto text = [&] { return absl::AsciiStrToLower(tokenizer->Decode(tokens, {.at_text_start = false})); };
    for (int i = 0; i < 60; ++i) {
      tokens.push_back(ids[random() % ids.size()]);
      const std::string with = text();
      const int64_t back = banned.Push(tokens.back());
      bool bad = false;
      for (const std::string& string : strings) bad = bad || absl::StrContains(with, string);
      ASSERT_EQ(back > 0, bad) << with;
      tokens.resize(tokens.size() - static_cast<size_t>(back));
      ASSERT_GE(static_cast<int64_t>(tokens.size()), seen) << "a token was taken back that was free: " << with;
      seen = static_cast<int64_t>(tokens.size()) - banned.held();
    }
  }
}

}  // namespace
}  // namespace barn
