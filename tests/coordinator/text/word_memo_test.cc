#include "coordinator/text/word_memo.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(WordMemo, EncodesEachDifferentWordOnce) {
  WordMemo memo;
  std::vector<int32_t> ids;
  int encoded = 0;
  for (const std::string_view word : {"ab", "", "c", "ab", "", "ab"}) {
    const auto encode = [&] {
      ++encoded;
      ids.insert(ids.end(), word.begin(), word.end());
      return absl::OkStatus();
    };
    EXPECT_TRUE(memo.Append(word, &ids, encode).ok());
  }
  EXPECT_EQ(ids, (std::vector<int32_t>{'a', 'b', 'c', 'a', 'b', 'a', 'b'}));
  EXPECT_EQ(encoded, 3);
}

TEST(WordMemo, PassesTheErrorOn) {
  WordMemo memo;
  std::vector<int32_t> ids;
  EXPECT_EQ(memo.Append("a", &ids, [] { return absl::InvalidArgumentError("no"); }), absl::InvalidArgumentError("no"));
}

}  // namespace
}  // namespace barn
