#include "coordinator/text/stop.h"

#include <gtest/gtest.h>

#include <random>

#include "coordinator/text/utf8.h"

namespace barn {
namespace {

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("abc").text, "abc");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, SpansParts) {
  StopMatcher matcher({"\nuser:"});
  EXPECT_EQ(matcher.Push("Hello\nus").text, "Hello");
  EXPECT_EQ(matcher.Push("ually\nuse").text, "\nusually");
  const auto end = matcher.Push("r: and more");
  EXPECT_EQ(end.text, "");
  EXPECT_TRUE(end.stopped);
  EXPECT_EQ(matcher.matched(), "\nuser:");
  EXPECT_EQ(matcher.Push("more").text, "");
  EXPECT_TRUE(matcher.Push("more").stopped);
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, FlushGivesBackWhatWasHeld) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Push("the EN").text, "the ");
  EXPECT_EQ(matcher.Flush(), "EN");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, BordersAreFollowed) {
  StopMatcher matcher({"aab"});
  const auto result = matcher.Push("aaab!");
  EXPECT_EQ(result.text, "a");
  EXPECT_TRUE(result.stopped);
}

TEST(StopMatcher, FirstToEndWinsThenTheLongest) {
  StopMatcher first({"bcd", "c"});
  EXPECT_EQ(first.Push("abcd").text, "ab");
  EXPECT_EQ(first.matched(), "c");
  StopMatcher longest({"c", "bc"});
  EXPECT_EQ(longest.Push("abc").text, "a");
  EXPECT_EQ(longest.matched(), "bc");
}

TEST(StopMatcher, EmptyStopsAreIgnored) {
  StopMatcher matcher({"", "x"});
  EXPECT_EQ(matcher.Push("abx").text, "ab");
  EXPECT_TRUE(matcher.stopped());
}

// However the text is cut, what is emitted is the text before the stop string that is complete first.
TEST(StopMatcher, AnyCutGivesTheSameText) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    const auto word = [&](int length_max) {
      std::string text;
      for (int i = random() % length_max + 1; i > 0; --i)
        text += random() % 3 == 0 ? "\xC3\xA9" : std::string(1, 'a' + random() % 2);
      return text;
    };
    const std::vector<std::string> stops = {word(4), word(4)};
    const std::string text = word(40);
    size_t end = std::string::npos;
    size_t begin = text.size();
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos || at + stop.size() > end) continue;
      begin = at + stop.size() == end ? std::min(begin, at) : at;
      end = at + stop.size();
    }
    StopMatcher matcher(stops);
    std::string out;
    for (size_t at = 0; at < text.size() && !matcher.stopped();) {
      size_t bytes = 0;
      for (int i = random() % 4; i >= 0 && at + bytes < text.size(); --i)
        bytes += ReadUtf8(text.substr(at + bytes)).bytes;
      const std::string part = matcher.Push(text.substr(at, bytes)).text;
      EXPECT_EQ(WellFormedPrefix(part), part.size());
      out += part;
      at += bytes;
    }
    out += matcher.Flush();
    EXPECT_EQ(out, text.substr(0, begin)) << text << " | " << stops[0] << " | " << stops[1];
    EXPECT_EQ(matcher.stopped(), end != std::string::npos);
  }
}

}  // namespace
}  // namespace barn
