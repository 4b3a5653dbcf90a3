#include "worker/service/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace barn {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Logits, EditsDivideMultiplyAndAdd) {
  std::vector<float> logits = {2, -2, 1, 0};
  const std::vector<LogitChange> changes = {{.id = 0, .add = 1, .repetition = 2},
                                            {.id = 1, .add = 0, .repetition = 2},
                                            {.id = 2, .add = -kInf, .repetition = 1}};
  ASSERT_TRUE(CheckChanges(changes, 4).ok());
  ApplyChanges(changes, logits);
  EXPECT_EQ(logits, (std::vector<float>{2, -4, -kInf, 0}));
}

TEST(Logits, BadEditsAreRefusedByNumber) {
  for (const LogitChange& bad :
       {LogitChange{.id = -1}, LogitChange{.id = 4}, LogitChange{.id = 0, .add = NAN},
        LogitChange{.id = 0, .add = 0, .repetition = 0}, LogitChange{.id = 0, .add = 0, .repetition = -1},
        LogitChange{.id = 0, .add = 0, .repetition = kInf}, LogitChange{.id = 0, .add = 0, .repetition = NAN}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckChanges({&bad, 1}, 4))) << bad.id;
  }
}

std::vector<float> Masked(const proto::TokenMask& mask, int64_t vocabulary) {
  const auto read = ReadMask(mask, vocabulary);
  EXPECT_TRUE(read.ok()) << read.status();
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i);
  ApplyMask(*read, logits);
  EXPECT_EQ(vocabulary - std::count(logits.begin(), logits.end(), -INFINITY), read->allowed);
  return logits;
}

TEST(LogitMask, ForbidsAllButTheAllowed) {
  constexpr float kNo = -INFINITY;
  proto::TokenMask bits;
  bits.set_bits(std::string("\x05\x02", 2));
  EXPECT_EQ(Masked(bits, 10), (std::vector<float>{0, kNo, 2, kNo, kNo, kNo, kNo, kNo, kNo, 9}));
  proto::TokenMask names;
  for (const uint32_t gap : {1, 2, 1, 6}) names.add_named_gaps(gap);  // 0, 2, 3, 9
  EXPECT_EQ(Masked(names, 11), (std::vector<float>{0, kNo, 2, 3, kNo, kNo, kNo, kNo, kNo, 9, kNo}));
  names.set_named_are_forbidden(true);
  EXPECT_EQ(Masked(names, 11), (std::vector<float>{kNo, 1, kNo, kNo, 4, 5, 6, 7, 8, kNo, 10}));
  proto::TokenMask none;
  none.set_named_are_forbidden(true);
  EXPECT_EQ(Masked(none, 3), (std::vector<float>{0, 1, 2}));
}

TEST(LogitMask, RefusesWhatMakesNoSense) {
  const auto refused = [](const proto::TokenMask& mask) {
    return absl::IsInvalidArgument(ReadMask(mask, 10).status());
  };
  proto::TokenMask mask;
  EXPECT_TRUE(refused(mask));  // Nothing is allowed.
  mask.add_named_gaps(11);     // Id 10.
  EXPECT_TRUE(refused(mask));
  mask.set_named_gaps(0, 0);
  EXPECT_TRUE(refused(mask));
  mask.set_named_gaps(0, UINT32_MAX);
  EXPECT_TRUE(refused(mask));
  mask.set_named_gaps(0, 1);
  EXPECT_FALSE(refused(mask));
  mask.set_bits(std::string("\x05\x02", 2));  // Both forms.
  EXPECT_TRUE(refused(mask));
  mask.clear_named_gaps();
  EXPECT_FALSE(refused(mask));
  mask.set_bits("\x05");
  EXPECT_TRUE(refused(mask));
  mask.set_bits(std::string("\x05\x06", 2));  // Id 10.
  EXPECT_TRUE(refused(mask));
  mask.set_bits(std::string("\0\0", 2));
  EXPECT_TRUE(refused(mask));
}

}  // namespace
}  // namespace barn
