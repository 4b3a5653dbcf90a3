#include "coordinator/http/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(ReadJson, GivesWhatTheLibraryGives) {
  for (const char* text : {"null", "true", "[]", "{}", R"({"a": [1, -2, 3.5, "x\u00e9\n", {"b": null}], "c": {}})",
                           "18446744073709551615", "-0.0", " [ 1 , [ 2 ] , { \"k\" : [ ] } ] "}) {
    const auto value = ReadJson(text);
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_EQ(*value, nlohmann::json::parse(text));
  }
}

TEST(ReadJson, RefusesWhatIsNoJsonOrTooLarge) {
  struct Case {
    const char* text;
    const char* problem;
  };
  for (const Case& bad : std::vector<Case>{{"", "unexpected end of input"},
                                           {"[1", "unexpected end of input"},
                                           {"[1] x", "byte"},
                                           {"NaN", "byte"},
                                           {"[1e999]", "number overflow"},
                                           {"\"\xc3\"", "UTF-8"},
                                           {R"({"a": {"b": 1, "b": 1}})", "'b' stands twice"},
                                           {"[[[[]]]]", "nested deeper than 3 levels"},
                                           {"[1,2,3,4,5,6]", "more than 6 values"}}) {
    const auto value = ReadJson(bad.text, {.depth_max = 3, .values_max = 6});
    ASSERT_FALSE(value.ok()) << bad.text;
    EXPECT_THAT(std::string(value.status().message()), testing::HasSubstr(bad.problem));
  }
  EXPECT_TRUE(ReadJson("[[[]]]", {.depth_max = 3, .values_max = 6}).ok());
  EXPECT_TRUE(ReadJson("[1,2,3,4,5]", {.depth_max = 3, .values_max = 6}).ok());
}

}  // namespace
}  // namespace barn
