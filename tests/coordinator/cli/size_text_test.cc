#include "coordinator/cli/size_text.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(SizeText, ParsesUnits) {
  const std::pair<const char*, int64_t> cases[] = {{"0", 0},
                                                   {"4096", 4096},
                                                   {"8GiB", int64_t{8} << 30},
                                                   {"1.5 GB", 1'500'000'000},
                                                   {"500MB", 500'000'000},
                                                   {"2k", -1},
                                                   {"2K", 2048},
                                                   {"3T", int64_t{3} << 40},
                                                   {"", -1},
                                                   {"GiB", -1},
                                                   {"-1GiB", -1},
                                                   {"1e9", -1},
                                                   {"1GiBB", -1},
                                                   {"99999999999TiB", -1}};
  for (const auto& [text, bytes] : cases) {
    const absl::StatusOr<int64_t> parsed = ParseBytes(text);
    EXPECT_EQ(parsed.ok(), bytes >= 0) << text;
    if (parsed.ok()) {
      EXPECT_EQ(*parsed, bytes) << text;
    }
  }
}

TEST(SizeText, Formats) {
  EXPECT_EQ(FormatSeconds(5.2), "5 s");
  EXPECT_EQ(FormatSeconds(65), "1 min 5 s");
}

}  // namespace
}  // namespace barn
