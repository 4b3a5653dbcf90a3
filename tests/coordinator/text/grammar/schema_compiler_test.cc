// JSON schemas: what is refused and by what name, and the cases that the public oracle has not.
#include "coordinator/text/grammar/schema_compiler.h"

#include <gmock/gmock.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"

namespace barn::grammar {
namespace {

using ::testing::HasSubstr;

TEST(Schema, RefusesByNameWithThePath) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type": "object", "properties": {"a": {"not": {}}}})",
       "schema: #/properties/a/not: this keyword is not supported"},
      {R"({"properties": {"x/y": {"uniqueItems": true}}})",
       "#/properties/x~1y/uniqueItems: this keyword is not supported"},
      {R"({"items": {"multipleOf": 5}})", "#/items/multipleOf: this keyword is not supported"},
      {R"({"patternProperties": {}})", "#/patternProperties: this keyword is not supported"},
      {R"({"if": {}, "then": {}})", "#/if: this keyword is not supported"},
      {R"({"type": "string", "format": "uri"})", "#/format: \"uri\" is not supported (known: date, time"},
      {R"s({"type": "string", "pattern": "^(?=a)"})s", "#/pattern: \"(\" at byte 1 begins a group that looks around"},
      {R"({"type": "string", "pattern": "(a)\\1"})",
       "#/pattern: \"\\\" at byte 3 begins an escape that is not supported: \\1"},
      {R"({"type": "string", "pattern": "a^b"})", "#/pattern: \"^\" at byte 1 is only supported at the start"},
      {R"({"type": "string", "pattern": "[z-a]"})", "ends a range that is none"},
      {R"({"type": "string", "pattern": "^a", "maxLength": 5})", "#/pattern: beside minLength or maxLength"},
      {R"({"type": "strin"})", "#/type: \"strin\" is no type"},
      {R"({"$ref": "#/$defs/none"})", "#/$ref: there is nothing at \"#/$defs/none\""},
      {R"({"$ref": "https://example.com/s.json"})", "does not lead into this schema"},
      {R"({"$ref": "#"})", "#/$ref: the schema refers back to itself"},
      {R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})", "is left-recursive"},
      {R"({"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]})", "no value meets the schema"},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})",
       "#/oneOf: a value might match both branch 0 and branch 1"},
      {R"({"type": "integer", "minimum": 5, "maximum": 4})", "no value meets the schema"},
      {R"({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1})", "no value meets the schema"},
      {R"({"minLength": "3"})", "#/minLength: must be a whole number"},
      {R"({"minimum": true})", "#/minimum: must be a number"},
      {R"({"type": "number", "minimum": 1e-30})", "#/minimum: 1e-30 has 24 or more digits"},
      {R"({"items": [{}]})", "#/items: must be one schema"},
      {R"({"enum": ["a"], "pattern": "a"})", "#/pattern: beside enum or const"},
      {R"({"minProperties": 3})", "#/minProperties: more than one property of a free name"},
      {R"({"type": "object", "required": "a"})", "#/required: must be a list"},
      {R"({"type": "object", "properties": []})", "#/properties: must be an object"},
      {R"({"type": "object", "properties": {"a": 3}})", "#/properties/a: a schema must be an object, true or false"},
      {R"(3)", "#: a schema must be"},
      {R"({)", "the schema is not JSON"},
  };
  for (const auto& [schema, message] : cases) {
    const auto grammar = Grammar::Compile(JsonSchemaSource(schema));
    EXPECT_FALSE(grammar.ok()) << schema;
    EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << schema;
    EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(message)) << schema;
  }
}

TEST(Schema, JudgesAsTheStandardDoes) {
  constexpr bool kYes = true, kNo = false;
  const std::tuple<const char*, const char*, bool> cases[] = {
      {"true", R"({"any": [1, null, "x"]})", kYes},
      {R"({"type": "object"})", R"({"a": 1, "b": {}})", kYes},
      {R"({"type": "object"})", "[]", kNo},
      // Properties that no part forbids may follow.
      {R"({"properties": {"a": {"type": "integer"}}, "type": "object"})", R"({"a": 1, "b": "x"})", kYes},
      {R"({"properties": {"a": {"type": "integer"}}, "type": "object"})", R"({"b": "x"})", kYes},
      // A name spelled with escapes is still that name.
      {R"({"properties": {"é": {"type": "integer"}}, "type": "object"})", R"({"\u00e9": "x"})", kNo},
      {R"({"properties": {"é": {"type": "integer"}}, "type": "object"})", R"({"\u00E9": 5})", kYes},
      {R"({"properties": {"ab": {"type": "integer"}}, "type": "object"})", R"({"a": "x", "abc": "y"})", kYes},
      {R"({"properties": {"ab": {"type": "integer"}}, "type": "object"})", R"({"ab": "x"})", kNo},
      {R"({"type": "object", "required": ["z"]})", R"({"z": null})", kYes},
      {R"({"type": "object", "required": ["z"]})", R"({"y": null})", kNo},
      {R"({"type": "object", "properties": {"a": false, "b": true}})", R"({"b": 1})", kYes},
      {R"({"type": "object", "properties": {"a": false, "b": true}})", R"({"a": 1})", kNo},
      {R"({"type": "object", "maxProperties": 1, "properties": {"a": {}, "b": {}}})", R"({"a": 1, "b": 2})", kNo},
      {R"({"type": "object", "maxProperties": 0})", "{}", kYes},
      {R"({"type": "object", "minProperties": 2, "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false})",
       R"({"a": 1, "c": 2})", kYes},
      {R"({"type": "object", "minProperties": 2, "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false})",
       R"({"b": 2})", kNo},
      {R"({"type": "integer", "exclusiveMinimum": -0.5, "maximum": 2.5})", "0", kYes},
      {R"({"type": "integer", "exclusiveMinimum": -0.5, "maximum": 2.5})", "3", kNo},
      {R"({"type": "integer", "minimum": 0, "exclusiveMaximum": 1})", "0", kYes},
      {R"({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.25})", "0.1", kYes},
      {R"({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.25})", "0.2499", kYes},
      {R"({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.25})", "0.25", kNo},
      {R"({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.25})", "0.0999", kNo},
      {R"({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.25})", "0.100", kYes},
      {R"({"type": "number", "minimum": -1e3, "maximum": -999.5})", "-999.75", kYes},
      {R"({"type": "number", "minimum": -1e3, "maximum": -999.5})", "-999.4", kNo},
      {R"({"type": "number"})", "1e-07", kYes},
      {R"({"type": "number"})", "1e300", kNo},  // Within the reach of a double, but not certainly with more digits.
      {R"({"const": 1.0})", "1", kYes},
      {R"({"enum": [1, "1", 2.5], "type": "number"})", "\"1\"", kNo},
      {R"({"enum": [1, 5, 9], "minimum": 5})", "1", kNo},
      {R"({"enum": [1, 5, 9], "minimum": 5})", "9", kYes},
      {R"({"anyOf": [{"type": "string"}, {"type": "integer"}], "maxLength": 2, "minimum": 3})", "\"abc\"", kNo},
      {R"({"anyOf": [{"type": "string"}, {"type": "integer"}], "maxLength": 2, "minimum": 3})", "4", kYes},
      {R"({"anyOf": [{"type": "string"}, {"type": "integer"}], "maxLength": 2, "minimum": 3})", "2", kNo},
      {R"({"allOf": [{"properties": {"a": {"minimum": 2}}}, {"properties": {"a": {"type": "integer"}}}], "type": "object"})",
       R"({"a": 1})", kNo},
      {R"({"oneOf": [{"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}},
                     {"type": "object", "required": ["a"], "properties": {"a": {"const": 2}}}]})",
       R"({"a": 2})", kYes},
      {R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "maxItems": 1})", "[1, 2]", kNo},
      {R"({"type": "array", "prefixItems": [{"const": 1}], "minItems": 3})", "[1, \"x\", {}]", kYes},
      {R"({"type": "array", "items": false})", "[]", kYes},
      {R"({"type": "array", "items": false})", "[1]", kNo},
      {R"({"type": "string", "minLength": 2})", R"("\ud83d\uddfc")", kNo},
      {R"({"type": "string", "minLength": 2})", R"("\u0041\n")", kYes},
      {R"({"type": "string"})", R"("\ud83d")", kNo},
      {R"({"type": "string", "pattern": "b"})", R"("abc")", kYes},
      {R"({"type": "string", "pattern": "^(a|b)$|^c"})", R"("cd")", kYes},
      {R"({"type": "string", "pattern": "^[^\"]\\\\$"})", R"("x\\")", kYes},
      {R"({"type": "string", "format": "date"})", "\"2023-02-29\"", kNo},
      {R"({"type": "string", "format": "ipv6"})", "\"fe80::1:2\"", kYes},
      {R"({"type": "string", "format": "hostname"})", "\"a-b.example\"", kYes},
      {R"({"$defs": {"a~b": {"$defs": {"c/d": {"type": "null"}}}}, "$ref": "#/$defs/a~0b/$defs/c~1d"})", "null", kYes},
      {R"({"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}, "additionalProperties": false})",
       R"({"next": {"next": null}})", kYes},
  };
  for (const auto& [schema, text, meets] : cases) {
    const auto grammar = Grammar::Compile(JsonSchemaSource(schema));
    ASSERT_TRUE(grammar.ok()) << schema << grammar.status();
    Automaton automaton(*grammar, SmallTrie());
    EXPECT_EQ(Judge(automaton, text) == Verdict::kComplete, meets) << schema << " " << text;
  }
}

TEST(Schema, HostileSchemasStayBounded) {
  std::string names, nested, chain = R"({"$ref": "#/$defs/d0", "$defs": {)", choices, values, more_values;
  for (int i = 0; i < 8'000; ++i) absl::StrAppend(&names, i > 0 ? "," : "", "\"property number ", i, "\": {}");
  for (int i = 0; i < 5'000; ++i) absl::StrAppend(&nested, R"({"items":)");
  for (int i = 0; i < 5'000; ++i) absl::StrAppend(&chain, "\"d", i, "\": {\"$ref\": \"#/$defs/d", i + 1, "\"}, ");
  absl::StrAppend(&chain, R"("d5000": {}}})");
  for (int i = 0; i < 30; ++i) {
    absl::StrAppend(&choices, i > 0 ? "," : "", R"({"anyOf": [{"minLength": )", i, R"(}, {"minimum": )", i, "}]}");
  }
  for (int i = 0; i < 40'000; ++i) absl::StrAppend(&values, i > 0 ? "," : "", i);
  for (const std::string& schema :
       {absl::StrCat(R"({"type": "object", "properties": {)", names, "}}"),
        absl::StrCat(R"({"type": "object", "maxProperties": 500, "properties": {)", names, "}}"),
        absl::StrCat(nested, "{}", std::string(5'000, '}')), chain, absl::StrCat(R"({"allOf": [)", choices, "]}"),
        absl::StrCat(R"({"allOf": [{"enum": [)", values, R"(]}, {"enum": [)", values, "]}]}"),
        absl::StrCat(R"({"oneOf": [{"enum": [)", values, R"(]}, {"enum": [)", values, "]}]}"),
        std::string(R"({"type": "string", "pattern": "^((((a{1,1000}){1,1000}){1,1000}){1,1000})*$"})"),
        std::string(R"({"type": "array", "minItems": 1000000, "items": {"type": "array", "minItems": 1000000}})")}) {
    const absl::Time begin = absl::Now();
    const auto grammar = Grammar::Compile(JsonSchemaSource(schema));
    if (grammar.ok()) {
      Automaton automaton(*grammar, SmallTrie());
      EXPECT_TRUE(automaton.Mask(automaton.start()).ok());
    }
    EXPECT_LT(absl::Now() - begin, absl::Seconds(20)) << schema.substr(0, 80);
  }
}

}  // namespace
}  // namespace barn::grammar
