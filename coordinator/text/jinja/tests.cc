#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/builtins.h"

namespace barn::jinja {
namespace {

using Test = bool (*)(Context&, const Value&, const Arguments&);

const Value& First(Context& context, const Arguments& arguments) {
  static const Value kMissing;
  if (!arguments.positional.empty()) return arguments.positional[0];
  context.Fail("a test without the value that it compares with");
  return kMissing;
}

template <int kSign, bool kOrEqual>
bool Ordered(Context& context, const Value& subject, const Arguments& arguments) {
  const Value& other = First(context, arguments);
  if (kOrEqual && Equal(subject, other)) return true;
  const std::optional<bool> less = kSign < 0 ? Less(subject, other) : Less(other, subject);
  if (!less.has_value()) {
    context.Fail(absl::StrCat("a ", subject.TypeName(), " and a ", other.TypeName(), " cannot be compared"));
  }
  return less.value_or(false);
}

bool IsEqual(Context& context, const Value& subject, const Arguments& arguments) {
  return Equal(subject, First(context, arguments));
}
bool IsUnequal(Context& context, const Value& subject, const Arguments& arguments) {
  return !Equal(subject, First(context, arguments));
}
bool IsIn(Context& context, const Value& subject, const Arguments& arguments) {
  return Contains(context, First(context, arguments), subject);
}

template <int64_t kRest>
bool Parity(Context& context, const Value& subject, const Arguments&) {
  if (subject.is_integer() || subject.is_bool()) return (subject.integer() & 1) == kRest;
  context.Fail(absl::StrCat("odd or even: a ", subject.TypeName()));
  return false;
}

bool IsDivisible(Context& context, const Value& subject, const Arguments& arguments) {
  const Value& by = First(context, arguments);
  if (subject.is_integer() && by.is_integer() && by.integer() != 0) {
    return by.integer() == -1 || subject.integer() % by.integer() == 0;
  }
  context.Fail("divisibleby wants two ints, the second not 0");
  return false;
}

template <bool kUpper>
bool IsCase(Context&, const Value& subject, const Arguments&) {
  if (!subject.is_string()) return false;
  bool letters = false;
  for (const char c : *subject.text()) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUpper ? absl::ascii_islower(byte) : absl::ascii_isupper(byte)) return false;
    letters = letters || absl::ascii_isalpha(byte);
  }
  return letters;
}

constexpr std::array<std::pair<std::string_view, Test>, 34> kTests = {{
    {"defined", [](Context&, const Value& v, const Arguments&) { return !v.is_undefined(); }},
    {"undefined", [](Context&, const Value& v, const Arguments&) { return v.is_undefined(); }},
    {"none", [](Context&, const Value& v, const Arguments&) { return v.is_none(); }},
    {"boolean", [](Context&, const Value& v, const Arguments&) { return v.is_bool(); }},
    {"true", [](Context&, const Value& v, const Arguments&) { return v.is_bool() && v.Truth(); }},
    {"false", [](Context&, const Value& v, const Arguments&) { return v.is_bool() && !v.Truth(); }},
    {"integer", [](Context&, const Value& v, const Arguments&) { return v.is_integer(); }},
    {"float", [](Context&, const Value& v, const Arguments&) { return v.is_float(); }},
    {"number", [](Context&, const Value& v, const Arguments&) { return v.is_number(); }},
    {"string", [](Context&, const Value& v, const Arguments&) { return v.is_string(); }},
    {"mapping", [](Context&, const Value& v, const Arguments&) { return v.is_dict(); }},
    {"sequence", [](Context&, const Value& v,
                    const Arguments&) { return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined(); }},
    {"iterable", [](Context&, const Value& v,
                    const Arguments&) { return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined(); }},
    {"callable", [](Context&, const Value& v, const Arguments&) { return v.callable() != nullptr; }},
    {"odd", Parity<1>},
    {"even", Parity<0>},
    {"divisibleby", IsDivisible},
    {"lower", IsCase<false>},
    {"upper", IsCase<true>},
    {"eq", IsEqual},
    {"==", IsEqual},
    {"equalto", IsEqual},
    {"sameas", IsEqual},
    {"ne", IsUnequal},
    {"lt", Ordered<-1, false>},
    {"lessthan", Ordered<-1, false>},
    {"gt", Ordered<1, false>},
    {"greaterthan", Ordered<1, false>},
    {"le", Ordered<-1, true>},
    {"ge", Ordered<1, true>},
    {"in", IsIn},
    {"filter", [](Context&, const Value& v, const Arguments&) { return v.is_string() && IsFilter(*v.text()); }},
    {"test", [](Context&, const Value& v, const Arguments&) { return v.is_string() && IsTest(*v.text()); }},
    {"escaped", [](Context&, const Value&, const Arguments&) { return false; }},
}};

Test FindTest(std::string_view name) {
  for (const auto& [known, test] : kTests) {
    if (known == name) return test;
  }
  return nullptr;
}

}  // namespace

bool IsTest(std::string_view name) { return FindTest(name) != nullptr; }

bool ApplyTest(Context& context, std::string_view name, const Value& subject, const Arguments& arguments) {
  const Test test = FindTest(name);
  if (test != nullptr) return test(context, subject, arguments);
  context.Fail(absl::StrCat("no test is named '", std::string(name), "'"));
  return false;
}

}  // namespace barn::jinja
