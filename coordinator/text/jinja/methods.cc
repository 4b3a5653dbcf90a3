#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/builtins.h"
#include "coordinator/text/jinja/code_points.h"
#include "coordinator/text/jinja/text_functions.h"

namespace barn::jinja {
namespace {

using Method = Value (*)(Context&, const Value& self, const Arguments&);

// An argument that must be a text; null, after Fail, if it is not.
const std::string* TextArgument(Context& context, const Arguments& arguments, size_t index) {
  if (index < arguments.positional.size() && arguments.positional[index].is_string()) {
    return arguments.positional[index].text();
  }
  context.Fail("a method of a string without the string that it takes");
  return nullptr;
}

template <Side kSide>
Value StripText(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* set = arguments.positional.empty() ? nullptr : arguments.positional[0].text();
  if (!context.Charge(self.text()->size())) return Value();
  return Value(Strip(*self.text(), set, kSide));
}

// Pieces between runs of white space.
List SplitWords(Context& context, std::string_view text, int64_t most) {
  List words;
  for (text = Strip(text, nullptr, Side::kLeft); !text.empty() && context.Charge(sizeof(Value) + 64);
       text = Strip(text, nullptr, Side::kLeft)) {
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      NextCodePoint(text, next);
      if (Strip(text.substr(end, next - end), nullptr, Side::kLeft).empty()) break;
      end = next;
    }
    if (most-- == 0) {
      words.push_back(Value(Strip(text, nullptr, Side::kRight)));
      break;
    }
    words.push_back(Value(text.substr(0, end)));
    text.remove_prefix(end);
  }
  return words;
}

List SplitFromRight(Context& context, std::string_view text, std::string_view by, int64_t most) {
  List parts;
  for (; most != 0 && context.Charge(sizeof(Value) + 64); --most) {
    const size_t found = text.rfind(by);
    if (found == text.npos) break;
    parts.push_back(Value(text.substr(found + by.size())));
    text = text.substr(0, found);
  }
  parts.push_back(Value(text));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kFromRight>
Value Split(Context& context, const Value& self, const Arguments& arguments) {
  const Value* by = arguments.Get(0, "sep");
  const Value* limit = arguments.Get(1, "maxsplit");
  const int64_t most = limit != nullptr && limit->is_integer() ? limit->integer() : -1;
  std::string_view text = *self.text();
  if (!context.Charge(text.size())) return Value();
  if (by == nullptr || by->is_none()) return Value(SplitWords(context, text, most));
  if (!by->is_string() || by->text()->empty()) return context.Fail("split by something that is not a text");
  if (kFromRight) return Value(SplitFromRight(context, text, *by->text(), most));
  List parts;
  for (int64_t left = most; left != 0 && context.Charge(sizeof(Value) + 64); --left) {
    const size_t found = text.find(*by->text());
    if (found == text.npos) break;
    parts.push_back(Value(text.substr(0, found)));
    text.remove_prefix(found + by->text()->size());
  }
  parts.push_back(Value(text));
  return Value(std::move(parts));
}

Value Lines(Context& context, const Value& self, const Arguments& arguments) {
  const Value* keep = arguments.Get(0, "keepends");
  return Value(SplitLines(context, *self.text(), keep != nullptr && keep->Truth()));
}

// startswith and endswith take a text or a tuple of texts.
template <bool kEnd>
Value StartsOrEnds(Context& context, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return context.Fail("startswith without a text");
  const Value& wanted = arguments.positional[0];
  const List one = {wanted};
  for (const Value& text : wanted.list() != nullptr ? *wanted.list() : one) {
    if (!text.is_string()) return context.Fail(absl::StrCat("startswith of a ", text.TypeName()));
    if (kEnd ? absl::EndsWith(*self.text(), *text.text()) : absl::StartsWith(*self.text(), *text.text())) {
      return Value(true);
    }
  }
  return Value(false);
}

template <bool kLast, bool kMustFind>
Value Find(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* wanted = TextArgument(context, arguments, 0);
  if (wanted == nullptr || !context.Charge(self.text()->size() / 16)) return Value();
  const size_t at = kLast ? self.text()->rfind(*wanted) : self.text()->find(*wanted);
  if (at != std::string::npos) return Value(static_cast<int64_t>(CountCodePoints(self.text()->substr(0, at))));
  return kMustFind ? context.Fail("index: the text is not there") : Value(int64_t{-1});
}

Value Count(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* wanted = TextArgument(context, arguments, 0);
  if (wanted == nullptr || !context.Charge(self.text()->size() / 16)) return Value();
  int64_t count = 0;
  for (size_t at = 0; (at = self.text()->find(*wanted, at)) != std::string::npos; ++count) {
    at += std::max<size_t>(1, wanted->size());
  }
  return Value(count);
}

Value ReplaceText(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* from = TextArgument(context, arguments, 0);
  const std::string* to = TextArgument(context, arguments, 1);
  if (from == nullptr || to == nullptr) return Value();
  const Value* most = arguments.Get(2, "count");
  return Value(
      Replace(context, *self.text(), *from, *to, most != nullptr && most->is_integer() ? most->integer() : -1));
}

Value JoinText(Context& context, const Value& self, const Arguments& arguments) {
  return arguments.positional.empty() ? context.Fail("join without a list")
                                      : ApplyFilter(context, "join", arguments.positional[0], {.positional = {self}});
}

template <bool kSuffix>
Value RemoveEnd(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* end = TextArgument(context, arguments, 0);
  if (end == nullptr || !context.Charge(self.text()->size())) return Value();
  std::string_view text = *self.text();
  if (kSuffix && text.ends_with(*end)) text.remove_suffix(end->size());
  if (!kSuffix && text.starts_with(*end)) text.remove_prefix(end->size());
  return Value(text);
}

template <bool kLast>
Value Partition(Context& context, const Value& self, const Arguments& arguments) {
  const std::string* by = TextArgument(context, arguments, 0);
  if (by == nullptr || !context.Charge(self.text()->size())) return Value();
  const std::string_view text = *self.text();
  const size_t at = kLast ? text.rfind(*by) : text.find(*by);
  if (at == text.npos) {
    return Value(kLast ? List{Value(""), Value(""), self} : List{self, Value(""), Value("")}, /*tuple=*/true);
  }
  return Value(List{Value(text.substr(0, at)), Value(*by), Value(text.substr(at + by->size()))}, /*tuple=*/true);
}

// Every character, and at least one, is of the kind; letters beyond ASCII count as letters.
template <class Kind>
bool All(const std::string& text, Kind kind) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [&](char c) { return kind(static_cast<unsigned char>(c)); });
}
Value IsDigits(Context&, const Value& self, const Arguments&) { return Value(All(*self.text(), absl::ascii_isdigit)); }
Value IsLetters(Context&, const Value& self, const Arguments&) {
  return Value(All(*self.text(), [](unsigned char c) { return absl::ascii_isalpha(c) || c >= 0x80; }));
}
Value IsLettersOrDigits(Context&, const Value& self, const Arguments&) {
  return Value(All(*self.text(), [](unsigned char c) { return absl::ascii_isalnum(c) || c >= 0x80; }));
}
Value IsSpaces(Context&, const Value& self, const Arguments&) {
  return Value(!self.text()->empty() && Strip(*self.text(), nullptr, Side::kLeft).empty());
}
Value IsUpper(Context& context, const Value& self, const Arguments&) {
  return Value(ApplyTest(context, "upper", self, {}));
}
Value IsLower(Context& context, const Value& self, const Arguments&) {
  return Value(ApplyTest(context, "lower", self, {}));
}

template <const std::string_view& kFilter>
Value AsFilter(Context& context, const Value& self, const Arguments& arguments) {
  return ApplyFilter(context, kFilter, self, arguments);
}
constexpr std::string_view kLower = "lower", kUpper = "upper", kTitle = "title", kCapitalize = "capitalize";

Value Get(Context& context, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return context.Fail("get without a key");
  const Value& key = arguments.positional[0];
  const Value* found = key.is_string() ? self.dict()->Find(*key.text()) : nullptr;
  if (found != nullptr) return *found;
  const Value* otherwise = arguments.Get(1, "default");
  return otherwise == nullptr ? Value(None{}) : *otherwise;
}

template <int kPart>  // 0: keys, 1: values, 2: both
Value Entries(Context& context, const Value& self, const Arguments&) {
  if (!context.Charge(self.dict()->size() * 4 * sizeof(Value))) return Value();
  List items;
  for (const auto& [key, value] : self.dict()->entries()) {
    items.push_back(kPart == 0 ? Value(key) : kPart == 1 ? value : Value(List{Value(key), value}, /*tuple=*/true));
  }
  return Value(std::move(items));
}

Value Copy(Context&, const Value& self, const Arguments&) { return self; }

Value ListIndex(Context& context, const Value& self, const Arguments& arguments) {
  for (size_t i = 0; !arguments.positional.empty() && i < self.list()->size(); ++i) {
    if (Equal((*self.list())[i], arguments.positional[0])) return Value(static_cast<int64_t>(i));
  }
  return context.Fail("index: the item is not in the list");
}

Value ListCount(Context&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return Value(int64_t{0});
  return Value(static_cast<int64_t>(std::count_if(self.list()->begin(), self.list()->end(), [&](const Value& item) {
    return Equal(item, arguments.positional[0]);
  })));
}

using Entry = std::pair<std::string_view, Method>;

constexpr std::array<Entry, 32> kTextMethods = {{
    {"strip", StripText<Side::kBoth>},
    {"lstrip", StripText<Side::kLeft>},
    {"rstrip", StripText<Side::kRight>},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", Lines},
    {"startswith", StartsOrEnds<false>},
    {"endswith", StartsOrEnds<true>},
    {"find", Find<false, false>},
    {"rfind", Find<true, false>},
    {"index", Find<false, true>},
    {"rindex", Find<true, true>},
    {"count", Count},
    {"replace", ReplaceText},
    {"join", JoinText},
    {"removeprefix", RemoveEnd<false>},
    {"removesuffix", RemoveEnd<true>},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"isdigit", IsDigits},
    {"isdecimal", IsDigits},
    {"isnumeric", IsDigits},
    {"isalpha", IsLetters},
    {"isalnum", IsLettersOrDigits},
    {"isspace", IsSpaces},
    {"isupper", IsUpper},
    {"islower", IsLower},
    {"lower", AsFilter<kLower>},
    {"casefold", AsFilter<kLower>},
    {"upper", AsFilter<kUpper>},
    {"title", AsFilter<kTitle>},
    {"capitalize", AsFilter<kCapitalize>},
}};

constexpr std::array<Entry, 5> kDictMethods = {
    {{"get", Get}, {"items", Entries<2>}, {"keys", Entries<0>}, {"values", Entries<1>}, {"copy", Copy}}};

constexpr std::array<Entry, 3> kListMethods = {{{"index", ListIndex}, {"count", ListCount}, {"copy", Copy}}};

Method FindMethod(const Value& self, std::string_view name) {
  const std::span<const Entry> methods = self.is_string() ? std::span<const Entry>(kTextMethods)
                                         : self.is_dict() ? std::span<const Entry>(kDictMethods)
                                         : self.is_list() ? std::span<const Entry>(kListMethods)
                                                          : std::span<const Entry>();
  for (const auto& [known, method] : methods) {
    if (known == name) return method;
  }
  return nullptr;
}

}  // namespace

bool HasMethod(const Value& self, std::string_view name) { return FindMethod(self, name) != nullptr; }

Value CallMethod(Context& context, const Value& self, std::string_view name, const Arguments& arguments) {
  const Method method = FindMethod(self, name);
  if (method == nullptr)
    return context.Fail(absl::StrCat("a ", self.TypeName(), " has no method '", std::string(name), "'"));
  return method(context, self, arguments);
}

}  // namespace barn::jinja
