#include "coordinator/text/jinja/builtins.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/text/jinja/code_points.h"

namespace barn::jinja {
namespace {

constexpr int64_t kRangeMax = 100'000;  // As in Jinja's sandbox.

Value Range(Context& context, const Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) return context.Fail("range takes one to three numbers");
  for (size_t i = 0; i < count; ++i) {
    const Value& value = arguments.positional[i];
    if (!value.is_integer() && !value.is_bool()) {
      return context.Fail(absl::StrCat("range of a ", value.TypeName(), " where an int is due"));
    }
    bounds[count == 1 ? 1 : i] = value.integer();
  }
  const auto [first, last, step] = bounds;
  if (step == 0) return context.Fail("range with a step of 0");
  const double length = (static_cast<double>(last) - static_cast<double>(first)) / static_cast<double>(step);
  if (length > kRangeMax) return context.Fail(absl::StrCat("a range of more than ", kRangeMax, " numbers"));
  List items;
  if (length > 0 && !context.Charge(static_cast<size_t>(length + 1) * sizeof(Value))) return Value();
  for (int64_t i = 0; i < static_cast<int64_t>(std::ceil(length)); ++i) items.push_back(Value(first + i * step));
  return Value(std::move(items));
}

// dict(a=1), dict(other, a=1).
Value MakeDict(Context& context, const Arguments& arguments) {
  Dict dict;
  for (const Value& value : arguments.positional) {
    if (value.dict() == nullptr) return context.Fail(absl::StrCat("dict of a ", value.TypeName()));
    if (!context.Charge(value.dict()->size() * sizeof(Value))) return Value();
    for (const auto& [key, item] : value.dict()->entries()) dict.Set(key, item);
  }
  for (const auto& [key, value] : arguments.named) dict.Set(key, value);
  return Value(std::move(dict));
}

Value StrftimeNow(Context& context, const Arguments& arguments) {
  const Value* format = arguments.Get(0, "format");
  if (format == nullptr || !format->is_string()) return context.Fail("strftime_now takes a format");
  if (format->text()->size() > 256) return context.Fail("strftime_now with a format of more than 256 bytes");
  return Value(absl::FormatTime(*format->text(), context.now(), context.time_zone()));
}

}  // namespace

const Value* Arguments::Get(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Arguments Arguments::From(size_t first) const {
  Arguments rest{.positional = {}, .named = named};
  for (size_t i = first; i < positional.size(); ++i) rest.positional.push_back(positional[i]);
  return rest;
}

bool IsFunction(std::string_view name) {
  return name == "range" || name == "dict" || name == "namespace" || name == "raise_exception" ||
         name == "strftime_now";
}

Value CallFunction(Context& context, std::string_view name, const Arguments& arguments) {
  if (name == "range") return Range(context, arguments);
  if (name == "dict") return MakeDict(context, arguments);
  if (name == "strftime_now") return StrftimeNow(context, arguments);
  const Value* message = arguments.Get(0, "message");
  return context.Fail(message == nullptr ? "the template refuses its input" : context.Text(*message));
}

bool Items(Context& context, const Value& value, List& items) {
  if (const List* list = value.list()) {
    if (!context.Charge(list->size() * sizeof(Value))) return false;
    items = *list;
  } else if (const Dict* dict = value.dict()) {
    if (!context.Charge(dict->size() * 2 * sizeof(Value))) return false;
    for (const auto& [key, entry] : dict->entries()) items.push_back(Value(key));
  } else if (const std::string* text = value.text()) {
    if (!context.Charge(text->size() * (sizeof(Value) + 64))) return false;
    for (size_t at = 0; at < text->size();) {
      const size_t begin = at;
      NextCodePoint(*text, at);
      items.push_back(Value(text->substr(begin, at - begin)));
    }
  } else if (!value.is_undefined()) {
    context.Fail(absl::StrCat("a loop over a ", value.TypeName(), ", which has no items"));
    return false;
  }
  return true;
}

bool Contains(Context& context, const Value& container, const Value& item) {
  if (const std::string* text = container.text()) {
    if (item.is_string()) return context.Charge(text->size() / 16) && absl::StrContains(*text, *item.text());
    context.Fail(absl::StrCat("'in' a string wants a string, not a ", item.TypeName()));
  } else if (const List* list = container.list()) {
    if (!context.Charge(list->size())) return false;
    return std::any_of(list->begin(), list->end(), [&](const Value& own) { return Equal(own, item); });
  } else if (const Dict* dict = container.dict()) {
    return item.is_string() && dict->Find(*item.text()) != nullptr;
  } else if (!container.is_undefined()) {
    context.Fail(absl::StrCat("'in' a ", container.TypeName(), ", which holds nothing"));
  }
  return false;
}

}  // namespace barn::jinja
