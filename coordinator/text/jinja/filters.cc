#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/builtins.h"
#include "coordinator/text/jinja/code_points.h"
#include "coordinator/text/jinja/json_value.h"
#include "coordinator/text/jinja/text_functions.h"

namespace barn::jinja {
namespace {

using Filter = Value (*)(Context&, const Value&, const Arguments&);

int64_t IntegerOr(const Value* value, int64_t otherwise) {
  if (value == nullptr || !value->is_number()) return otherwise;
  return value->is_float() ? static_cast<int64_t>(std::clamp(value->number(), -1e15, 1e15)) : value->integer();
}

bool TruthOr(const Value* value, bool otherwise) { return value == nullptr ? otherwise : value->Truth(); }

Value ToJson(Context& context, const Value& input, const Arguments& arguments) {
  JsonStyle style;
  if (const Value* indent = arguments.Get(0, "indent"); indent != nullptr && !indent->is_none()) {
    if (!indent->is_number()) return context.Fail("tojson: indent must be a number");
    style.indent = static_cast<int>(std::clamp<int64_t>(IntegerOr(indent, 0), 0, 64));
    style.item_separator.pop_back();  // No blank at the end of a line.
  }
  style.ascii = TruthOr(arguments.Get(4, "ensure_ascii"), false);
  style.sort_keys = TruthOr(arguments.Get(4, "sort_keys"), false);
  const Value* separators = arguments.Get(4, "separators");
  if (separators != nullptr && separators->list() != nullptr && separators->list()->size() == 2) {
    style.item_separator = context.Text((*separators->list())[0]);
    style.key_separator = context.Text((*separators->list())[1]);
  }
  std::string json;
  const absl::Status status = AppendJson(input, style, context.bytes_left(), json);
  if (!status.ok()) return context.Fail(absl::StrCat("tojson: ", status.message()));
  return context.Charge(json.size()) ? Value(std::move(json)) : Value();
}

Value Length(Context& context, const Value& input, const Arguments&) {
  if (const std::string* text = input.text()) {
    if (!context.Charge(text->size() / 16)) return Value();
    return Value(static_cast<int64_t>(CountCodePoints(*text)));
  }
  if (input.list() != nullptr) return Value(static_cast<int64_t>(input.list()->size()));
  if (input.dict() != nullptr) return Value(static_cast<int64_t>(input.dict()->size()));
  if (input.is_undefined()) return Value(int64_t{0});
  return context.Fail(absl::StrCat("length of a ", input.TypeName()));
}

Value Default(Context&, const Value& input, const Arguments& arguments) {
  const bool replace = input.is_undefined() || (TruthOr(arguments.Get(1, "boolean"), false) && !input.Truth());
  if (!replace) return input;
  const Value* value = arguments.Get(0, "default_value");
  return value == nullptr ? Value("") : *value;
}

// The items' attribute where one is asked for: "a.b" goes two steps.
Value ByAttribute(Context& context, Value item, const Value* attribute) {
  if (attribute == nullptr || attribute->is_none()) return item;
  std::string path = context.Text(*attribute);
  for (std::string_view rest = path; context.ok();) {
    const size_t dot = rest.find('.');
    item = context.Attribute(item, rest.substr(0, dot));
    if (dot == rest.npos) break;
    rest.remove_prefix(dot + 1);
  }
  return item;
}

Value Join(Context& context, const Value& input, const Arguments& arguments) {
  List items;
  if (!Items(context, input, items)) return Value();
  const Value* separator = arguments.Get(0, "d");
  const std::string between = separator == nullptr ? "" : context.Text(*separator);
  std::string out;
  for (size_t i = 0; i < items.size() && context.ok(); ++i) {
    if (!context.Charge(between.size())) return Value();
    if (i > 0) out += between;
    out += context.Text(ByAttribute(context, items[i], arguments.Get(1, "attribute")));
  }
  return Value(std::move(out));
}

template <bool kLast>
Value End(Context& context, const Value& input, const Arguments&) {
  List items;
  if (!Items(context, input, items) || items.empty()) return Value();
  return kLast ? items.back() : items.front();
}

Value ToList(Context& context, const Value& input, const Arguments&) {
  List items;
  return Items(context, input, items) ? Value(std::move(items)) : Value();
}

Value Reverse(Context& context, const Value& input, const Arguments&) {
  List items;
  if (!Items(context, input, items)) return Value();
  std::reverse(items.begin(), items.end());
  if (!input.is_string()) return Value(std::move(items));
  std::string out;
  for (const Value& item : items) out += *item.text();
  return Value(std::move(out));
}

template <class Change>
Value OfText(Context& context, const Value& input, Change change) {
  const std::string text = context.Text(input);
  return context.Charge(text.size()) ? Value(change(text)) : Value();
}

Value Trim(Context& context, const Value& input, const Arguments& arguments) {
  const Value* set = arguments.Get(0, "chars");
  return OfText(context, input, [&](const std::string& text) {
    return std::string(Strip(text, set == nullptr ? nullptr : set->text(), Side::kBoth));
  });
}

Value ReplaceText(Context& context, const Value& input, const Arguments& arguments) {
  const Value* from = arguments.Get(0, "old");
  const Value* to = arguments.Get(1, "new");
  if (from == nullptr || to == nullptr) return context.Fail("replace takes two texts");
  return Value(Replace(context, context.Text(input), context.Text(*from), context.Text(*to),
                       IntegerOr(arguments.Get(2, "count"), -1)));
}

Value Indent(Context& context, const Value& input, const Arguments& arguments) {
  const Value* width = arguments.Get(0, "width");
  const std::string blanks =
      width != nullptr && width->is_string()
          ? *width->text()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(IntegerOr(width, 4), 0, 256)), ' ');
  const bool first = TruthOr(arguments.Get(1, "first"), false);
  const bool blank = TruthOr(arguments.Get(2, "blank"), false);
  const std::string text = context.Text(input);
  std::string out;
  bool at_start = true;
  for (std::string_view rest = text; context.ok();) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (!context.Charge(blanks.size() + line.size() + 1)) return Value();
    if (at_start ? first : blank || !line.empty()) out += blanks;
    at_start = false;
    out += line;
    if (end == rest.npos) break;
    out += '\n';
    rest.remove_prefix(end + 1);
  }
  return Value(std::move(out));
}

Value ToInteger(Context&, const Value& input, const Arguments& arguments) {
  const int64_t otherwise = IntegerOr(arguments.Get(0, "default"), 0);
  if (input.is_number()) return Value(IntegerOr(&input, otherwise));
  if (!input.is_string()) return Value(otherwise);
  int64_t number = 0;
  double as_float = 0;
  if (absl::SimpleAtoi(*input.text(), &number)) return Value(number);
  if (!absl::SimpleAtod(*input.text(), &as_float) || !std::isfinite(as_float)) return Value(otherwise);
  return Value(static_cast<int64_t>(std::clamp(as_float, -1e15, 1e15)));
}

Value ToFloat(Context&, const Value& input, const Arguments& arguments) {
  const Value* otherwise = arguments.Get(0, "default");
  double number = otherwise != nullptr && otherwise->is_number() ? otherwise->number() : 0;
  if (input.is_number()) return Value(input.number());
  if (double parsed = 0; input.is_string() && absl::SimpleAtod(*input.text(), &parsed)) number = parsed;
  return Value(number);
}

Value Absolute(Context& context, const Value& input, const Arguments&) {
  if (!input.is_number()) return context.Fail(absl::StrCat("abs of a ", input.TypeName()));
  if (input.is_float()) return Value(std::fabs(input.number()));
  return Value(input.integer() < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(input.integer())) : input.integer());
}

Value Round(Context& context, const Value& input, const Arguments& arguments) {
  if (!input.is_number()) return context.Fail(absl::StrCat("round of a ", input.TypeName()));
  const double power =
      std::pow(10.0, static_cast<double>(std::clamp<int64_t>(IntegerOr(arguments.Get(0, "precision"), 0), -300, 300)));
  const Value* method = arguments.Get(1, "method");
  const std::string how = method == nullptr ? "common" : context.Text(*method);
  const double scaled = input.number() * power;
  // To even in the middle, as Python's round().
  const double rounded = how == "ceil"    ? std::ceil(scaled)
                         : how == "floor" ? std::floor(scaled)
                                          : std::nearbyint(scaled);
  return Value(rounded / power);
}

Value DictItems(Context& context, const Value& input, const Arguments&) {
  if (input.is_undefined()) return Value(List());
  if (input.dict() == nullptr) return context.Fail(absl::StrCat("items of a ", input.TypeName(), ", not a dict"));
  return CallMethod(context, input, "items", {});
}

// A stable sort; `key` gives what is compared.
template <class Key>
bool SortBy(Context& context, List& items, bool reverse, bool case_sensitive, Key key) {
  if (!context.Charge(items.size() * 64)) return false;
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value by = key(item);
    if (!case_sensitive && by.is_string()) by = Value(absl::AsciiStrToLower(*by.text()));
    keyed.emplace_back(std::move(by), std::move(item));
  }
  for (size_t i = 1; i < keyed.size(); ++i) {
    if (!Less(keyed[0].first, keyed[i].first).has_value()) {
      context.Fail(absl::StrCat("sort: a ", keyed[0].first.TypeName(), " and a ", keyed[i].first.TypeName()));
      return false;
    }
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return (reverse ? Less(b.first, a.first) : Less(a.first, b.first)).value_or(false);
  });
  for (size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
  return true;
}

Value Sort(Context& context, const Value& input, const Arguments& arguments) {
  List items;
  if (!Items(context, input, items)) return Value();
  const bool sorted = SortBy(
      context, items, TruthOr(arguments.Get(0, "reverse"), false), TruthOr(arguments.Get(1, "case_sensitive"), false),
      [&](const Value& item) { return ByAttribute(context, item, arguments.Get(2, "attribute")); });
  return sorted ? Value(std::move(items)) : Value();
}

Value DictSort(Context& context, const Value& input, const Arguments& arguments) {
  const Value pairs = DictItems(context, input, {});
  if (pairs.list() == nullptr) return Value();
  List items = *pairs.list();
  const Value* by = arguments.Get(1, "by");
  const size_t part = by != nullptr && by->is_string() && *by->text() == "value" ? 1 : 0;
  const bool sorted = SortBy(context, items, TruthOr(arguments.Get(2, "reverse"), false),
                             TruthOr(arguments.Get(0, "case_sensitive"), false),
                             [&](const Value& item) { return (*item.list())[part]; });
  return sorted ? Value(std::move(items)) : Value();
}

Value Unique(Context& context, const Value& input, const Arguments& arguments) {
  List items, kept, keys;
  if (!Items(context, input, items)) return Value();
  for (const Value& item : items) {
    Value key = ByAttribute(context, item, arguments.Get(1, "attribute"));
    if (key.is_string()) key = Value(absl::AsciiStrToLower(*key.text()));
    if (!context.Charge(keys.size())) return Value();
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& other) { return Equal(other, key); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return Value(std::move(kept));
}

// map("upper"), map("tojson", indent=2), map(attribute="name", default="x").
Value Map(Context& context, const Value& input, const Arguments& arguments) {
  List items;
  if (!Items(context, input, items)) return Value();
  const Value* attribute = arguments.positional.empty() ? arguments.Get(0, "attribute") : nullptr;
  const Value* otherwise = arguments.positional.empty() ? arguments.Get(1, "default") : nullptr;
  if (attribute == nullptr && (arguments.positional.empty() || !arguments.positional[0].is_string())) {
    return context.Fail("map takes the name of a filter or an attribute");
  }
  for (Value& item : items) {
    if (!context.ok()) return Value();
    if (attribute == nullptr) {
      item = ApplyFilter(context, *arguments.positional[0].text(), item, arguments.From(1));
      continue;
    }
    item = ByAttribute(context, item, attribute);
    if (item.is_undefined() && otherwise != nullptr) item = *otherwise;
  }
  return Value(std::move(items));
}

// select("odd"), selectattr("role", "equalto", "user") and their opposites.
template <bool kAttribute, bool kKeep>
Value Select(Context& context, const Value& input, const Arguments& arguments) {
  List items, kept;
  if (!Items(context, input, items)) return Value();
  constexpr size_t kTest = kAttribute ? 1 : 0;
  if (kAttribute && arguments.positional.empty()) return context.Fail("selectattr takes an attribute");
  const bool named = arguments.positional.size() > kTest;
  const std::string test = named ? context.Text(arguments.positional[kTest]) : "";
  const Arguments rest = arguments.From(kTest + 1);
  for (const Value& item : items) {
    if (!context.ok()) return Value();
    const Value subject = kAttribute ? ByAttribute(context, item, &arguments.positional[0]) : item;
    const bool holds = named ? ApplyTest(context, test, subject, rest) : subject.Truth();
    if (holds == kKeep) kept.push_back(item);
  }
  return Value(std::move(kept));
}

Value Sum(Context& context, const Value& input, const Arguments& arguments) {
  List items;
  if (!Items(context, input, items)) return Value();
  const Value* start = arguments.Get(1, "start");
  Value total = start == nullptr ? Value(int64_t{0}) : *start;
  for (const Value& item : items) {
    const Value value = ByAttribute(context, item, arguments.Get(0, "attribute"));
    if (!value.is_number() || !total.is_number()) return context.Fail(absl::StrCat("sum of a ", value.TypeName()));
    int64_t sum = 0;
    const bool exact =
        !value.is_float() && !total.is_float() && !__builtin_add_overflow(value.integer(), total.integer(), &sum);
    total = exact ? Value(sum) : Value(value.number() + total.number());
  }
  return total;
}

template <int kSign>
Value Extreme(Context& context, const Value& input, const Arguments& arguments) {
  List items;
  if (!Items(context, input, items) || items.empty()) return Value();
  const bool sorted =
      SortBy(context, items, kSign > 0, TruthOr(arguments.Get(0, "case_sensitive"), false),
             [&](const Value& item) { return ByAttribute(context, item, arguments.Get(1, "attribute")); });
  return sorted ? items.front() : Value();
}

Value Escape(Context& context, const Value& input, const Arguments&) {
  const std::string text = context.Text(input);
  if (!context.Charge(text.size() * 6)) return Value();
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&#34;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return Value(std::move(out));
}

Value FormatText(Context& context, const Value& input, const Arguments& arguments) {
  return FormatPercent(context, context.Text(input), arguments.positional);
}

Value WordCount(Context& context, const Value& input, const Arguments&) {
  const Value words = CallMethod(context, Value(context.Text(input)), "split", {});
  return words.list() == nullptr ? Value() : Value(static_cast<int64_t>(words.list()->size()));
}

Value GetAttribute(Context& context, const Value& input, const Arguments& arguments) {
  return arguments.positional.empty() ? context.Fail("attr takes a name")
                                      : context.Attribute(input, context.Text(arguments.positional[0]));
}

Value AsText(Context& context, const Value& input, const Arguments&) { return Value(context.Text(input)); }
Value Lower(Context& context, const Value& input, const Arguments&) {
  return OfText(context, input, [](const std::string& text) { return absl::AsciiStrToLower(text); });
}
Value Upper(Context& context, const Value& input, const Arguments&) {
  return OfText(context, input, [](const std::string& text) { return absl::AsciiStrToUpper(text); });
}
Value TitleText(Context& context, const Value& input, const Arguments&) { return OfText(context, input, Title); }
Value CapitalizeText(Context& context, const Value& input, const Arguments&) {
  return OfText(context, input, Capitalize);
}

constexpr std::array<std::pair<std::string_view, Filter>, 42> kFilters = {{
    {"tojson", ToJson},
    {"length", Length},
    {"count", Length},
    {"default", Default},
    {"d", Default},
    {"join", Join},
    {"first", End<false>},
    {"last", End<true>},
    {"list", ToList},
    {"reverse", Reverse},
    {"trim", Trim},
    {"replace", ReplaceText},
    {"indent", Indent},
    {"int", ToInteger},
    {"float", ToFloat},
    {"abs", Absolute},
    {"round", Round},
    {"items", DictItems},
    {"sort", Sort},
    {"dictsort", DictSort},
    {"unique", Unique},
    {"map", Map},
    {"select", Select<false, true>},
    {"reject", Select<false, false>},
    {"selectattr", Select<true, true>},
    {"rejectattr", Select<true, false>},
    {"sum", Sum},
    {"min", Extreme<-1>},
    {"max", Extreme<1>},
    {"escape", Escape},
    {"e", Escape},
    {"forceescape", Escape},
    {"safe", AsText},
    {"string", AsText},
    {"lower", Lower},
    {"upper", Upper},
    {"title", TitleText},
    {"capitalize", CapitalizeText},
    {"format", FormatText},
    {"wordcount", WordCount},
    {"attr", GetAttribute},
    {"pprint", AsText},
}};

Filter FindFilter(std::string_view name) {
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

}  // namespace

bool IsFilter(std::string_view name) { return FindFilter(name) != nullptr; }

Value ApplyFilter(Context& context, std::string_view name, const Value& input, const Arguments& arguments) {
  const Filter filter = FindFilter(name);
  if (filter == nullptr) return context.Fail(absl::StrCat("no filter is named '", std::string(name), "'"));
  return filter(context, input, arguments);
}

}  // namespace barn::jinja
