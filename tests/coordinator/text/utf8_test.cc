#include "coordinator/text/utf8.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

struct Case {
  std::string_view text;
  size_t bytes;
  Utf8Kind kind;
};

TEST(Utf8, ReadsOneStep) {
  const Case cases[] = {
      {"a", 1, Utf8Kind::kCharacter},
      {std::string_view("\0", 1), 1, Utf8Kind::kCharacter},
      {"\xC3\xA9z", 2, Utf8Kind::kCharacter},
      {"\xE4\xB8\xAD", 3, Utf8Kind::kCharacter},
      {"\xEF\xBF\xBF", 3, Utf8Kind::kCharacter},
      {"\xF0\x9F\xA6\x99", 4, Utf8Kind::kCharacter},
      {"\xF4\x8F\xBF\xBF", 4, Utf8Kind::kCharacter},
      {"\xC3", 1, Utf8Kind::kIncomplete},
      {"\xF0\x9F\xA6", 3, Utf8Kind::kIncomplete},
      {"\x80", 1, Utf8Kind::kBroken},
      {"\xC0\x80", 1, Utf8Kind::kBroken},          // Overlong.
      {"\xE0\x80\x80", 1, Utf8Kind::kBroken},      // Overlong.
      {"\xED\xA0\x80", 1, Utf8Kind::kBroken},      // A surrogate.
      {"\xF4\x90\x80\x80", 1, Utf8Kind::kBroken},  // Beyond U+10FFFF.
      {"\xF5\x80", 1, Utf8Kind::kBroken},
      {"\xF0\x9Fzz", 2, Utf8Kind::kBroken},  // The maximal subpart.
  };
  for (const Case& c : cases) {
    const Utf8Step step = ReadUtf8(c.text);
    EXPECT_EQ(step.bytes, c.bytes) << testing::PrintToString(c.text);
    EXPECT_EQ(step.kind, c.kind) << testing::PrintToString(c.text);
  }
}

// The example of the Unicode Standard, section 3.9, table 3-11.
TEST(Utf8, ReplacesMaximalSubparts) {
  EXPECT_EQ(ReplaceBrokenUtf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                              "A"),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
            "A");
  EXPECT_EQ(ReplaceBrokenUtf8("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(ReplaceBrokenUtf8(""), "");
}

TEST(Utf8, FindsTheWellFormedPrefix) {
  EXPECT_EQ(WellFormedPrefix("caf\xC3\xA9"), 5u);
  EXPECT_EQ(WellFormedPrefix("caf\xC3"), 3u);
  EXPECT_EQ(WellFormedPrefix("\xFF"), 0u);
}

}  // namespace
}  // namespace barn
