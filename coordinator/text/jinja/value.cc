#include "coordinator/text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace barn::jinja {
namespace {

// Bytes of a character that Python's repr() would not print as it is.
bool IsControl(unsigned char byte) { return byte < 0x20 || byte == 0x7f; }

void AppendQuoted(std::string_view text, std::string& out) {
  const bool doubles = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = doubles ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsControl(static_cast<unsigned char>(c))) {
      absl::StrAppend(&out, "\\x", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  out += quote;
}

void AppendDictRepr(const Dict& dict, size_t bytes_max, std::string& out) {
  out += '{';
  for (size_t i = 0; i < dict.size() && out.size() <= bytes_max; ++i) {
    if (i > 0) out += ", ";
    AppendQuoted(dict.entries()[i].first, out);
    out += ": ";
    AppendRepr(dict.entries()[i].second, bytes_max, out);
  }
  out += '}';
}

bool EqualDicts(const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

Value::Value(List items, bool tuple) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  data_ = std::make_shared<const ListBox>(ListBox{.items = std::move(items), .tuple = tuple, .depth = depth + 1});
}
Value::Value(Dict entries) : data_(std::make_shared<const Dict>(std::move(entries))) {}
Value::Value(std::shared_ptr<Dict> shared_namespace) : data_(std::move(shared_namespace)) {}

int Value::depth() const {
  if (const auto* box = std::get_if<std::shared_ptr<const ListBox>>(&data_)) return (*box)->depth;
  return dict() == nullptr ? 0 : dict()->depth();
}

bool Value::is_tuple() const {
  const auto* box = std::get_if<std::shared_ptr<const ListBox>>(&data_);
  return box != nullptr && (*box)->tuple;
}

const std::string* Value::text() const {
  const auto* text = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return text == nullptr ? nullptr : text->get();
}

const List* Value::list() const {
  const auto* box = std::get_if<std::shared_ptr<const ListBox>>(&data_);
  return box == nullptr ? nullptr : &(*box)->items;
}

const Dict* Value::dict() const {
  const auto* dict = std::get_if<std::shared_ptr<const Dict>>(&data_);
  return dict == nullptr ? nullptr : dict->get();
}

Dict* Value::mutable_dict() const {
  const auto* dict = std::get_if<std::shared_ptr<Dict>>(&data_);
  return dict == nullptr ? nullptr : dict->get();
}

const Callable* Value::callable() const {
  const auto* callable = std::get_if<std::shared_ptr<const Callable>>(&data_);
  return callable == nullptr ? nullptr : callable->get();
}

int64_t Value::integer() const {
  if (const auto* truth = std::get_if<bool>(&data_)) return *truth ? 1 : 0;
  return std::get<int64_t>(data_);
}

double Value::number() const {
  if (const auto* number = std::get_if<double>(&data_)) return *number;
  return static_cast<double>(integer());
}

bool Value::Truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (const std::string* own = text()) return !own->empty();
  if (const List* own = list()) return !own->empty();
  if (const Dict* own = dict()) return own->size() > 0;
  return true;
}

const char* Value::TypeName() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return is_tuple() ? "tuple" : "list";
  if (is_dict()) return "dict";
  if (is_namespace()) return "namespace";
  return "function";
}

std::optional<size_t> Dict::Position(std::string_view key) const {
  if (!index_.empty()) {
    const auto found = index_.find(std::string(key));
    if (found == index_.end()) return std::nullopt;
    return found->second;
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].first == key) return i;
  }
  return std::nullopt;
}

const Value* Dict::Find(std::string_view key) const {
  const std::optional<size_t> at = Position(key);
  return at.has_value() ? &entries_[*at].second : nullptr;
}

void Dict::Set(std::string_view key, Value value) {
  depth_ = std::max(depth_, value.depth() + 1);
  if (const std::optional<size_t> at = Position(key)) {
    entries_[*at].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::string(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(std::string(key), entries_.size() - 1);
  } else if (entries_.size() >= kIndexFrom) {
    for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].first, i);
  }
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() == b.number() : a.integer() == b.integer();
  }
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() == *b.text();
  if (a.is_none() || a.is_undefined()) return a.is_none() ? b.is_none() : b.is_undefined();
  if (a.list() != nullptr && b.list() != nullptr) {
    if (a.is_tuple() != b.is_tuple() || a.list()->size() != b.list()->size()) return false;
    for (size_t i = 0; i < a.list()->size(); ++i) {
      if (!Equal((*a.list())[i], (*b.list())[i])) return false;
    }
    return true;
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return EqualDicts(*a.dict(), *b.dict());
  if (a.mutable_dict() != nullptr) return a.mutable_dict() == b.mutable_dict();
  return a.callable() != nullptr && a.callable() == b.callable();
}

std::optional<bool> Less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() < b.number() : a.integer() < b.integer();
  }
  // UTF-8 sorts as its code points do.
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() < *b.text();
  if (a.list() == nullptr || b.list() == nullptr) return std::nullopt;
  for (size_t i = 0; i < a.list()->size() && i < b.list()->size(); ++i) {
    const Value& x = (*a.list())[i];
    const Value& y = (*b.list())[i];
    if (!Equal(x, y)) return Less(x, y);
  }
  return a.list()->size() < b.list()->size();
}

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char digits[64];
  // Python writes exponents below 1e-4 and from 1e16 on.
  const double magnitude = std::fabs(number);
  const bool plain = number == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end = std::to_chars(digits, digits + sizeof(digits), number,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(digits, end.ptr);
  if (plain && text.find('.') == text.npos) text += ".0";
  return text;
}

void AppendRepr(const Value& value, size_t bytes_max, std::string& out) {
  if (out.size() > bytes_max) return;
  if (value.text() != nullptr) {
    AppendQuoted(*value.text(), out);
  } else if (const List* items = value.list()) {
    out += value.is_tuple() ? '(' : '[';
    for (size_t i = 0; i < items->size() && out.size() <= bytes_max; ++i) {
      if (i > 0) out += ", ";
      AppendRepr((*items)[i], bytes_max, out);
    }
    if (value.is_tuple() && items->size() == 1) out += ',';
    out += value.is_tuple() ? ')' : ']';
  } else if (value.dict() != nullptr) {
    AppendDictRepr(*value.dict(), bytes_max, out);
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    AppendText(value, bytes_max, out);
  }
}

void AppendText(const Value& value, size_t bytes_max, std::string& out) {
  if (value.text() != nullptr) {
    out += *value.text();
  } else if (value.is_none()) {
    out += "None";
  } else if (value.is_bool()) {
    out += value.integer() != 0 ? "True" : "False";
  } else if (value.is_integer()) {
    absl::StrAppend(&out, value.integer());
  } else if (value.is_float()) {
    out += FloatText(value.number());
  } else if (value.is_namespace()) {
    out += "<Namespace>";
  } else if (value.callable() != nullptr) {
    absl::StrAppend(&out, "<function ", value.callable()->name, ">");
  } else if (!value.is_undefined()) {
    AppendRepr(value, bytes_max, out);
  }
}

}  // namespace barn::jinja
