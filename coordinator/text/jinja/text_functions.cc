#include "coordinator/text/jinja/text_functions.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/jinja/code_points.h"

namespace barn::jinja {
namespace {

// Python's str.isspace.
bool IsSpace(uint32_t point) {
  return (point >= 9 && point <= 13) || (point >= 0x1c && point <= 0x20) || point == 0x85 || point == 0xa0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 ||
         point == 0x202f || point == 0x205f || point == 0x3000;
}

bool Goes(std::string_view character, const std::string* set) {
  size_t at = 0;
  if (set == nullptr) return IsSpace(NextCodePoint(character, at));
  return set->find(character) != set->npos;
}

size_t LastCharacter(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

char Lower(char c) { return absl::ascii_tolower(static_cast<unsigned char>(c)); }
char Upper(char c) { return absl::ascii_toupper(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || (c & 0x80) != 0; }

}  // namespace

std::string_view Strip(std::string_view text, const std::string* set, Side side) {
  while (side != Side::kRight && !text.empty()) {
    size_t at = 0;
    NextCodePoint(text, at);
    if (!Goes(text.substr(0, at), set)) break;
    text.remove_prefix(at);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t at = LastCharacter(text);
    if (!Goes(text.substr(at), set)) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

std::string Replace(Context& context, std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  size_t at = 0;
  for (; most != 0 && context.ok(); --most) {
    const size_t found = text.find(from, at);
    if (found == text.npos) break;
    if (!context.Charge(found - at + to.size() + 1)) return "";
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
    if (!from.empty()) continue;
    if (at == text.size()) return out;  // An empty text stands before each character and behind the last.
    const size_t begin = at;
    NextCodePoint(text, at);
    out += text.substr(begin, at - begin);
  }
  if (at < text.size() && context.Charge(text.size() - at)) out += text.substr(at);
  return out;
}

std::string Title(std::string_view text) {
  std::string out(text);
  bool inside = false;
  for (char& c : out) {
    c = inside ? Lower(c) : Upper(c);
    inside = IsLetter(c);
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out = absl::AsciiStrToLower(std::string(text));
  if (!out.empty()) out[0] = Upper(out[0]);
  return out;
}

List SplitLines(Context& context, std::string_view text, bool keep) {
  List lines;
  while (!text.empty() && context.Charge(sizeof(Value) + 64)) {
    const size_t end = text.find_first_of("\n\r");
    const size_t mark = end == text.npos ? 0 : text.substr(end, 2) == "\r\n" ? 2 : 1;
    const size_t line = end == text.npos ? text.size() : end;
    lines.push_back(Value(text.substr(0, keep ? line + mark : line)));
    text.remove_prefix(line + mark);
  }
  return lines;
}

Value FormatPercent(Context& context, std::string_view format, const List& values) {
  std::string out;
  size_t used = 0;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    const char kind = at + 1 < format.size() ? format[at + 1] : ' ';
    ++at;
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (used >= values.size()) return context.Fail("format: more places than values");
    const Value& value = values[used++];
    if (kind == 's') {
      out += context.Text(value);
    } else if (kind == 'r') {
      AppendRepr(value, context.bytes_left(), out);
    } else if ((kind == 'd' || kind == 'i') && value.is_number()) {
      absl::StrAppend(&out, static_cast<int64_t>(value.number()));
    } else if (kind == 'f' && value.is_number()) {
      absl::StrAppendFormat(&out, "%f", value.number());
    } else {
      return context.Fail(absl::StrCat("format: '%", std::string(1, kind), "' of a ", value.TypeName()));
    }
  }
  if (used < values.size()) return context.Fail("format: more values than places");
  return context.Charge(out.size()) ? Value(std::move(out)) : Value();
}

}  // namespace barn::jinja
