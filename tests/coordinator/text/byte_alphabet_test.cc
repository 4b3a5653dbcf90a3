#include "coordinator/text/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>

namespace barn {
namespace {

TEST(ByteAlphabet, IsOneToOne) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = ByteToAlphabet(static_cast<uint8_t>(byte));
    characters.insert(character);
    std::string bytes;
    ASSERT_TRUE(AlphabetToBytes(character, &bytes));
    EXPECT_EQ(bytes, std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(characters.size(), 256u);
}

// Known from every GPT-2 vocabulary.
TEST(ByteAlphabet, KnownCharacters) {
  EXPECT_EQ(ByteToAlphabet('a'), "a");
  EXPECT_EQ(ByteToAlphabet(' '), "\xC4\xA0");   // U+0120.
  EXPECT_EQ(ByteToAlphabet('\n'), "\xC4\x8A");  // U+010A.
  EXPECT_EQ(ByteToAlphabet(0xAD), "\xC5\x83");  // U+0143, the last of the 68.
  EXPECT_EQ(ByteToAlphabet(0xE4), "\xC3\xA4");
}

TEST(ByteAlphabet, RefusesOtherCharacters) {
  std::string bytes;
  EXPECT_FALSE(AlphabetToBytes("a b", &bytes));
  EXPECT_FALSE(AlphabetToBytes("\xE2\x96\x81", &bytes));
  EXPECT_FALSE(AlphabetToBytes("\xC5\x84", &bytes));  // U+0144, one beyond.
  EXPECT_FALSE(AlphabetToBytes("\xFF", &bytes));
}

TEST(ByteAlphabet, ParsesByteTokens) {
  EXPECT_EQ(ParseByteToken("<0x0A>"), 10);
  EXPECT_EQ(ParseByteToken("<0xfF>"), 255);
  for (const char* text : {"", "<0x0A", "<0x0A>>", "<0x0G>", "<0X0A>", "0x0A", "<0x+1>"}) {
    EXPECT_FALSE(ParseByteToken(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace barn
