#include "coordinator/text/jinja/template.h"

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/json_value.h"
#include "gtest/gtest.h"
#include "tests/coordinator/text/oracle.h"

namespace barn::jinja {
namespace {

// What `source` renders with the variables of a JSON object; or the error, after "! ".
std::string RenderWith(std::string_view source, std::string_view json, RenderOptions options = {}) {
  const absl::StatusOr<Value> inputs = ParseJson(json);
  if (!inputs.ok()) return absl::StrCat("! input: ", inputs.status().message());
  const absl::StatusOr<Template> parsed = Template::Parse(source);
  if (!parsed.ok()) return absl::StrCat("! ", parsed.status().message());
  const absl::StatusOr<std::string> text = parsed->Render(*inputs->dict(), options);
  return text.ok() ? *text : absl::StrCat("! ", text.status().message());
}

// Every public chat template with every recorded conversation, exactly.
TEST(Template, OracleCases) {
  RenderOptions options;
  options.now = absl::FromCivil(absl::CivilSecond(2026, 7, 4, 12, 34, 56), absl::UTCTimeZone());
  int cases = 0, refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(OraclePath("oracles/templates"))) {
    if (entry.path().extension() != ".jinja") continue;
    std::filesystem::path json = entry.path();
    json.replace_extension(".json");
    const absl::StatusOr<Value> oracle = ParseJson(ReadFileOrDie(json));
    ASSERT_TRUE(oracle.ok()) << json << oracle.status();
    const absl::StatusOr<Template> parsed = Template::Parse(ReadFileOrDie(entry.path()));
    ASSERT_TRUE(parsed.ok()) << entry.path() << parsed.status();
    const Value* list = oracle->dict()->Find("cases");
    ASSERT_TRUE(list != nullptr && (list->list() != nullptr || list->dict() != nullptr));
    for (const Value& one : *list->list()) {
      const Value* name = one.dict()->Find("name");
      SCOPED_TRACE(absl::StrCat(entry.path().filename().string(), " ", name == nullptr ? "" : *name->text()));
      const absl::StatusOr<std::string> text = parsed->Render(*one.dict()->Find("inputs")->dict(), options);
      const Value* error = one.dict()->Find("error");
      if (error == nullptr) {
        ASSERT_TRUE(text.ok()) << text.status();
        EXPECT_EQ(*text, *one.dict()->Find("output")->text());
      } else if (*error->dict()->Find("type")->text() == "TemplateError") {
        ASSERT_FALSE(text.ok());
        EXPECT_TRUE(absl::StrContains(text.status().message(), *error->dict()->Find("message")->text()))
            << text.status();
        ++refused;
      }
      ++cases;
    }
  }
  EXPECT_GE(cases, 150);
  EXPECT_GE(refused, 1);
}

struct Case {
  const char* source;
  const char* json;
  const char* expected;
};

class Renders : public testing::TestWithParam<Case> {};

TEST_P(Renders, AsPythonDoes) {
  const Case& c = GetParam();
  EXPECT_EQ(RenderWith(c.source, c.json), c.expected) << c.source;
}

// Each expectation is what jinja2 3.1.6 prints in the environment that template.h names.
INSTANTIATE_TEST_SUITE_P(
    Language, Renders,
    testing::Values(
        Case{"{{ x }}", R"({"x": "a"})", "a"}, Case{"{{ x }}|{{ y.z is defined }}", R"({"y": {}})", "|False"},
        Case{"{{ true }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 "
             "}}",
             "{}", "True None 1.0 1e+20 3 -4 2 3.5 8"},
        Case{"{{ [1, 'a', \"it's\", none, (1,)] }} {{ {'a': 1} }}", "{}", "[1, 'a', \"it's\", None, (1,)] {'a': 1}"},
        Case{"{% for a in [1,2,3] %}{{ loop.index }}{{ a }}{% if not loop.last %},{% endif %}{% endfor %}", "{}",
             "11,22,33"},
        Case{"{% for a in [1,2,3,4] if a is even %}{{ a }}{{ loop.length }}{% else %}none{% endfor %}", "{}", "2242"},
        Case{"{% for a in [] %}x{% else %}none{% endfor %}", "{}", "none"},
        Case{"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", R"({"d": {"b": 1, "a": 2}})", "b=1;a=2;"},
        Case{"{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "{}", "1"},
        Case{"{% set n = namespace(x=1) %}{% for i in [1,2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "{}", "4"},
        Case{"{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{}", "2"},
        Case{"{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i "
             "}}{% endfor %}",
             "{}", "1"},
        Case{"{% macro m(a, b='y') %}[{{ a }}{{ b }}]{% endmacro %}{{ m('x') }}{{ m('x', b='z') }}", "{}", "[xy][xz]"},
        Case{"{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "{}", "<in>"},
        Case{"{% set x %}a{{ 1 }}b{% endset %}{{ x | upper }}", "{}", "A1B"},
        Case{"{% filter upper %}abc{% endfilter %}", "{}", "ABC"},
        Case{"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{}", "3False"},
        Case{"{{ 'a' if x else 'b' }}{{ 'c' if x }}", R"({"x": false})", "b"},
        Case{"{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 'a' in 'cat' }} {{ 2 not in [1] }} {{ 'k' in d }}",
             R"({"d": {"k": 0}})", "True False True True True"},
        Case{"{{ x is none }}{{ x is not none }}{{ y is undefined }}{{ 3 is odd }}{{ 4 is divisibleby 2 }}",
             R"({"x": null})", "TrueFalseTrueTrueTrue"},
        Case{"{{ not x is defined and true }}", "{}", "True"},
        Case{"{{ 'abcdef'[1:3] }} {{ 'abc'[::-1] }} {{ [1,2,3][-1] }} {{ [1,2,3][:-1] }} {{ 'äöü'[1] }}{{ 'äöü'|length "
             "}}",
             "{}", "bc cba 3 [1, 2] ö3"},
        Case{"{{ d['items'] }} {{ d.items() | list | length }} {{ d.get('q', 'w') }}", R"({"d": {"items": 5}})",
             "5 1 w"},
        Case{"{{ '  a '.strip() }}|{{ 'a,b'.split(',') }}|{{ ' a  b '.split() }}|{{ 'abc'.startswith(('x', 'a')) }}",
             "{}", "a|['a', 'b']|['a', 'b']|True"},
        Case{"{{ 'a\\nb' }}{{ 'x' ~ 1 ~ none }}{{ 'ab' * 2 }}", "{}", "a\nbx1Noneabab"},
        Case{"{{ {'a': [1, 2.5, none, true, 'é\"']} | tojson }}", "{}", "{\"a\": [1, 2.5, null, true, \"é\\\"\"]}"},
        Case{"{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"},
        Case{"{{ [3,1,2] | sort | join('-') }} {{ ['b','A'] | sort | first }} {{ [1,2,3] | sum }} {{ [1,3] | max }}",
             "{}", "1-2-3 A 6 3"},
        Case{"{{ m | selectattr('r', 'equalto', 'u') | map(attribute='c') | join(',') }}",
             R"({"m": [{"r": "u", "c": "1"}, {"r": "s", "c": "2"}, {"r": "u", "c": "3"}]})", "1,3"},
        Case{"{{ [1,2,3] | reject('odd') | list }} {{ ['a'] | map('upper') | list }}", "{}", "[2] ['A']"},
        Case{"{{ x | default('d') }}{{ '' | default('e', true) }}{{ 'a b' | replace(' ', '_') }}{{ 'x' | trim }}", "{}",
             "dea_bx"},
        Case{"{{ '3' | int + 1 }} {{ 'q' | int(7) }} {{ 2.5 | round }} {{ 3.7 | int }} {{ '%s-%d' | format('a', 3) }}",
             "{}", "4 7 2.0 3 a-3"},
        Case{"{{ 'a\\nb' | indent(2) }}|{{ 'hello world' | title }}|{{ 'hELLO' | capitalize }}", "{}",
             "a\n  b|Hello World|Hello"},
        Case{"{% generation %}a{% endgeneration %}{% raw %}{{ x }}{% endraw %}{# c #}b", "{}", "a{{ x }}b"},
        Case{"a\n  {% if true %}\nb\n  {% endif %}\nc\n", "{}", "a\nb\nc"},
        Case{"a {%- if true -%} b {%- endif -%} c", "{}", "abc"},
        Case{"  {%+ if true %}x{% endif +%}\ny", "{}", "  x\ny"}, Case{"{{- ' a ' -}}  b", "{}", " a b"},
        Case{"{{ {'a': {'b': 1}}['a']['b'] }}", "{}", "1"}, Case{"{{ 'a' 'b' }}{{ \"\\u00e9\" }}", "{}", "abé"},
        Case{"{{ loop }}", R"({"loop": 1})", "1"}, Case{"{% set a, b = [1, 2] %}{{ b }}{{ a }}", "{}", "21"},
        Case{"{{ -1 | abs }}{{ -2 ** 2 }}", "{}", "14"},
        Case{"{{ range(3) | list }}{{ range(5, 1, -2) | list }}", "{}", "[0, 1, 2][5, 3]"},
        Case{"{{ loop.x }}{% for x in 'ab' %}{{ loop.cycle('o', 'e') }}{{ loop.previtem }}{% endfor %}",
             R"({"loop": {}})", "oea"}));

// Broken and hostile templates: an error with a line, in bounded time and memory.
TEST(Template, SaysWhatIsWrongAndWhere) {
  const std::pair<std::string, std::string> cases[] = {
      {"a\n{% if x %}", "! line 2: the template ends where 'endif' is due"},
      {"\n\n{{ x | nope }}", "! line 3: no filter is named 'nope'"},
      {"{{ x is nope }}", "! line 1: no test is named 'nope'"},
      {"{% include 'x' %}", "! line 1: the statement 'include' is not supported here"},
      {"{{ 'a }}", "! line 1: a string that is not closed"},
      {"{{ a.b.c }}", "! line 1: 'a' is undefined, 'b' of it is asked for"},
      {"x\n{{ raise_exception('no ' ~ 1) }}", "! line 2: no 1"},
      {"{{ 'a' + 1 }}", "! line 1: '+' between a str and a int"},
      {"{{ 1 / 0 }}", "! line 1: division by zero"},
      {"{{ nope() }}", "! line 1: 'nope' is undefined, and called"},
      {"{{ [].append(1) }}", "! line 1: 'append' is undefined, and called"},
      {"{% break %}", "! line 1: 'break' outside of a loop"},
      {"{{ range(1000000) }}", "! line 1: a range of more than 100000 numbers"},
      {"{{ 9223372036854775807 + 1 }}", "! line 1: a number beyond 64 bits"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(RenderWith(source, "{}"), expected) << source;
}

TEST(Template, BoundsWorkAndMemory) {
  const RenderOptions small = {.steps_max = 100'000, .bytes_max = 1 << 20};
  const auto fails = [&](const std::string& source, const std::string& with) {
    const std::string result = RenderWith(source, "{}", small);
    EXPECT_TRUE(absl::StartsWith(result, "! line ") && absl::StrContains(result, with))
        << source.substr(0, 80) << " -> " << result.substr(0, 200);
  };
  fails("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "more than");
  fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper than");
  fails("{{ 'a' * 1000000000 }}", "more than 1048576 bytes");
  fails("{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}", "bytes");
  fails("{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}", "nested deeper");
  fails("{{ 'ab'.replace('', 'x' * 600000) }}", "bytes");
  fails("{{ " + std::string(100000, '(') + " }}", "nested deeper than");
  fails("{{ " + std::string(50000, '-') + "1 }}", "nested deeper than");
  std::string ifs;
  for (int i = 0; i < 5000; ++i) ifs += "{% if x %}";
  fails(ifs, "nested deeper than");
  std::string attributes = "{{ x";
  for (int i = 0; i < 5000; ++i) attributes += "|upper";
  fails(attributes + " }}", "in a row");
  EXPECT_FALSE(Template::Parse(std::string((1 << 20) + 1, 'a')).ok());
}

// Namespaces and macros that hold each other are given back (LeakSanitizer), long chains without deep recursion.
TEST(Template, CyclesAndChainsEnd) {
  EXPECT_EQ(
      RenderWith("{% set n = namespace() %}{% set n.me = n %}{% macro m() %}{% endmacro %}{% set n.m = m %}x", "{}"),
      "x");
  EXPECT_EQ(RenderWith("{% set n = namespace(p=none) %}{% for i in range(50000) %}{% set n.p = namespace(p=n.p) %}"
                       "{% endfor %}x",
                       "{}"),
            "x");
}

}  // namespace
}  // namespace barn::jinja
