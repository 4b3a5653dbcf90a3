#include "coordinator/cli/number_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(NumberList, ReadsIds) {
  const auto ids = ParseTokenIds("1,2, 3\n4", 5);
  ASSERT_TRUE(ids.ok());
  EXPECT_THAT(*ids, testing::ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(ParseTokenIds("", 5)->empty());
}

TEST(NumberList, NamesTheBadWord) {
  for (const char* text : {"1,5", "1,-1", "1,x", "99999999999"}) {
    const auto ids = ParseTokenIds(text, 5);
    ASSERT_FALSE(ids.ok()) << text;
    EXPECT_THAT(std::string(ids.status().message()), testing::HasSubstr("is not a token id from 0 to 4"));
  }
}

}  // namespace
}  // namespace barn
