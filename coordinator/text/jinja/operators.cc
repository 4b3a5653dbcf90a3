#include "coordinator/text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/code_points.h"
#include "coordinator/text/jinja/text_functions.h"

namespace barn::jinja {
namespace {

Value Mismatch(Context& context, std::string_view operation, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return context.Fail(absl::StrCat("'", value->undefined()->name, "' is undefined"));
  }
  return context.Fail(absl::StrCat("'", std::string(operation), "' between a ", a.TypeName(), " and a ", b.TypeName()));
}

double FloorModulo(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value OfFloats(Context& context, std::string_view operation, double a, double b) {
  if (operation == "+") return Value(a + b);
  if (operation == "-") return Value(a - b);
  if (operation == "*") return Value(a * b);
  if (operation == "**") return Value(std::pow(a, b));
  if (b == 0) return context.Fail("division by zero");
  if (operation == "/") return Value(a / b);
  return Value(operation == "//" ? std::floor(a / b) : FloorModulo(a, b));
}

Value Power(Context& context, int64_t base, int64_t exponent) {
  if (exponent < 0) return OfFloats(context, "**", static_cast<double>(base), static_cast<double>(exponent));
  int64_t result = 1;
  if (base == 0 || base == 1 || exponent == 0) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) return context.Fail("a number beyond 64 bits");
  }
  return Value(result);
}

Value OfIntegers(Context& context, std::string_view operation, int64_t a, int64_t b) {
  if (operation == "/") return OfFloats(context, operation, static_cast<double>(a), static_cast<double>(b));
  if (operation == "**") return Power(context, a, b);
  int64_t result = 0;
  bool overflow = false;
  if (operation == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (operation == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (operation == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (b == 0) {
    return context.Fail("division by zero");
  } else if (b == -1) {
    overflow = operation == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
  } else {
    const int64_t quotient = a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
    result = operation == "//" ? quotient : a - quotient * b;
  }
  return overflow ? context.Fail("a number beyond 64 bits") : Value(result);
}

Value Repeat(Context& context, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const size_t bytes = value.is_string() ? value.text()->size() : value.list()->size() * sizeof(Value);
  int64_t total = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(bytes), times, &total) ||
      !context.Charge(static_cast<size_t>(total))) {
    return context.Fail(absl::StrCat("a repetition ", times, " times"));
  }
  std::string text;
  List items;
  for (int64_t i = 0; i < times && bytes > 0; ++i) {
    if (value.is_string()) {
      text += *value.text();
    } else {
      items.insert(items.end(), value.list()->begin(), value.list()->end());
    }
  }
  return value.is_string() ? Value(std::move(text)) : Value(std::move(items), value.is_tuple());
}

Value Concatenate(Context& context, const Value& a, const Value& b) {
  if (a.is_string()) {
    if (!context.Charge(a.text()->size() + b.text()->size())) return Value();
    return Value(absl::StrCat(*a.text(), *b.text()));
  }
  if (!context.Charge((a.list()->size() + b.list()->size()) * sizeof(Value))) return Value();
  List items = *a.list();
  items.insert(items.end(), b.list()->begin(), b.list()->end());
  return Value(std::move(items), a.is_tuple());
}

}  // namespace

Value Binary(Context& context, std::string_view operation, const Value& a, const Value& b) {
  if (operation == "~") {
    std::string text = context.Text(a);
    text += context.Text(b);
    return context.ok() ? Value(std::move(text)) : Value();
  }
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? OfFloats(context, operation, a.number(), b.number())
                                        : OfIntegers(context, operation, a.integer(), b.integer());
  }
  if (operation == "%" && a.is_string()) {
    return FormatPercent(context, *a.text(), b.is_tuple() ? *b.list() : List{b});
  }
  const bool both_lists = a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple();
  if (operation == "+" && ((a.is_string() && b.is_string()) || both_lists)) return Concatenate(context, a, b);
  if (operation == "*" && (a.is_string() || a.is_list()) && b.is_integer()) return Repeat(context, a, b.integer());
  if (operation == "*" && (b.is_string() || b.is_list()) && a.is_integer()) return Repeat(context, b, a.integer());
  return Mismatch(context, operation, a, b);
}

bool Compare(Context& context, std::string_view operation, const Value& a, const Value& b) {
  if (operation == "in") return Contains(context, b, a);
  if (operation == "not in") return !Contains(context, b, a);
  if (operation == "==") return Equal(a, b);
  if (operation == "!=") return !Equal(a, b);
  const bool swapped = operation[0] == '>';
  if (operation.size() == 2 && Equal(a, b)) return true;
  const std::optional<bool> less = swapped ? Less(b, a) : Less(a, b);
  if (!less.has_value()) Mismatch(context, operation, a, b);
  return less.value_or(false);
}

Value Slice(Context& context, const Value& subject, const Value& start, const Value& stop, const Value& step) {
  if (!subject.is_string() && !subject.is_list()) {
    return context.Fail(absl::StrCat("a slice of a ", subject.TypeName()));
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is_none() && !bound->is_undefined() && !bound->is_integer()) {
      return context.Fail(absl::StrCat("a slice bound that is a ", bound->TypeName()));
    }
  }
  List items;
  if (!Items(context, subject, items)) return Value();
  const auto count = static_cast<int64_t>(items.size());
  const int64_t stride = step.is_integer() ? std::clamp<int64_t>(step.integer(), -count - 1, count + 1) : 1;
  if (stride == 0) return context.Fail("a slice with a step of 0");
  const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? count : count - 1;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (!value.is_integer()) return otherwise;
    const int64_t at = value.integer();
    return std::clamp(at < 0 ? std::max(at, -count - 1) + count : at, low, high);
  };
  const int64_t first = bound(start, stride > 0 ? low : high), last = bound(stop, stride > 0 ? high : low);
  List kept;
  std::string text;
  for (int64_t i = first; stride > 0 ? i < last : i > last; i += stride) {
    if (subject.is_string()) {
      text += *items[static_cast<size_t>(i)].text();
    } else {
      kept.push_back(items[static_cast<size_t>(i)]);
    }
  }
  return subject.is_string() ? Value(std::move(text)) : Value(std::move(kept), subject.is_tuple());
}

}  // namespace barn::jinja
