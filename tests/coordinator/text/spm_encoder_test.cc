#include "coordinator/text/spm_encoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

#define SPACE "\xE2\x96\x81"

using Ids = std::vector<int32_t>;
constexpr int32_t kFirst = 259;  // The first of the pieces that a test gives.

Ids Encode(const Vocabulary& v, std::string_view text) {
  Ids ids;
  const absl::Status status = SpmEncoder(v).Append(text, &ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

TEST(SpmEncoder, HighestScoreMergesFirst) {
  const Vocabulary v = SmallSpmVocabulary({"bc", "ab", "a", "b", "c"});
  EXPECT_EQ(Encode(v, "abc"), (Ids{kFirst + 2, kFirst}));
}

TEST(SpmEncoder, CharactersWithoutPieceBecomeBytes) {
  const Vocabulary v = SmallSpmVocabulary({"a"});
  EXPECT_EQ(Encode(v, "a\xC3\xA9"), (Ids{kFirst, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(Encode(v, " "), (Ids{3 + 0xE2, 3 + 0x96, 3 + 0x81}));
  EXPECT_EQ(Encode(v, "\xFF"), (Ids{3 + 0xFF}));
}

TEST(SpmEncoder, WithoutByteTokensTheUnknownTokenServes) {
  Vocabulary v = SmallSpmVocabulary({"a"});
  for (TokenType& type : v.types) {
    if (type == TokenType::kByte) type = TokenType::kUnused;
  }
  EXPECT_EQ(Encode(v,
                   "a\xE4\xB8\xAD"
                   "a"),
            (Ids{kFirst, 0, kFirst}));
  v.unk = -1;
  Ids ids;
  const absl::Status status = SpmEncoder(v).Append("\xE4", &ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("0xe4"), std::string::npos);
}

TEST(SpmEncoder, WordsThatComeAgainAreTheSame) {
  const Vocabulary v = SmallSpmVocabulary({SPACE "ab", "ab", SPACE, "a", "b"});
  EXPECT_EQ(Encode(v, "ab ab  ab ab"), (Ids{kFirst + 1, kFirst, kFirst + 2, kFirst, kFirst}));
}

// "b a" is a piece: merging may cross a word's start, and cutting at spaces would miss it.
TEST(SpmEncoder, PiecesAcrossSpaces) {
  const Vocabulary v = SmallSpmVocabulary({"b" SPACE "a", SPACE "a", "a", "b", SPACE});
  EXPECT_EQ(Encode(v, "ab ab a"), (Ids{kFirst + 2, kFirst, kFirst}));
  const Vocabulary steps = SmallSpmVocabulary({"b" SPACE, "b" SPACE "a", SPACE "a", "a", "b", SPACE});
  EXPECT_EQ(Encode(steps, "ab a"), (Ids{kFirst + 3, kFirst + 1}));
}

TEST(SpmEncoder, ScoresThatAreNoNumbersComeLast) {
  Vocabulary v = SmallSpmVocabulary({"ab", "bc", "a", "b", "c"});
  v.scores[kFirst] = NAN;
  EXPECT_EQ(Encode(v, "abc"), (Ids{kFirst + 2, kFirst + 1}));
}

}  // namespace
}  // namespace barn
