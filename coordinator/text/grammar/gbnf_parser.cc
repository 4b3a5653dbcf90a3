#include "coordinator/text/grammar/gbnf_parser.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/jinja/code_points.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int kGroupsMax = 100;  // Parentheses inside of parentheses.

bool IsNameChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; }

class Parser {
 public:
  Parser(std::string_view source, Rules& rules) : source_(source), rules_(rules) {}

  absl::Status Run() {
    if (const size_t good = WellFormedPrefix(source_); good < source_.size()) {
      return ErrorAt(good, "these bytes are not UTF-8");
    }
    SkipSpace(true);
    while (!AtEnd()) BARN_RETURN_IF_ERROR(ParseRule());
    for (const auto& [rule, at] : references_) {
      if (rules_.rule(rule).body < 0) {
        return ErrorAt(at, absl::StrCat("the rule \"", rules_.rule(rule).name, "\" is not defined"));
      }
    }
    return absl::OkStatus();
  }

 private:
  bool AtEnd() const { return at_ >= source_.size(); }
  char Peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  bool Take(char c) {
    if (AtEnd() || Peek() != c) return false;
    ++at_;
    return true;
  }

  absl::Status ErrorAt(size_t at, std::string_view what) const {
    const std::string_view before = source_.substr(0, at);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    const size_t column = jinja::CountCodePoints(before.substr(line_start)) + 1;
    return absl::InvalidArgumentError(absl::StrFormat("line %d, column %d: %s", line, column, what));
  }
  absl::Status Error(std::string_view what) const { return ErrorAt(at_, what); }

  // Spaces and comments; also ends of lines if `lines`.
  void SkipSpace(bool lines) {
    while (!AtEnd()) {
      if (Peek() == '#') {
        while (!AtEnd() && Peek() != '\n' && Peek() != '\r') ++at_;
      } else if (Peek() == ' ' || Peek() == '\t' || (lines && (Peek() == '\n' || Peek() == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view TakeName() {
    const size_t begin = at_;
    while (!AtEnd() && IsNameChar(Peek())) ++at_;
    return source_.substr(begin, at_ - begin);
  }

  absl::Status ParseRule() {
    const size_t begin = at_;
    const std::string_view name = TakeName();
    if (name.empty()) return Error("the name of a rule is due here");
    SkipSpace(false);
    if (source_.substr(at_, 3) != "::=") {
      return Error(absl::StrCat("\"::=\" is due after the name \"", std::string(name), "\""));
    }
    at_ += 3;
    SkipSpace(true);
    const int32_t rule = rules_.FindOrAddRule(name);
    if (rules_.rule(rule).body >= 0) {
      return ErrorAt(begin, absl::StrCat("the rule \"", std::string(name), "\" is defined twice"));
    }
    Node body = 0;
    BARN_RETURN_IF_ERROR(ParseChoice(0, body));
    rules_.Define(rule, body);
    if (!AtEnd() && Peek() != '\n' && Peek() != '\r') return Error(Unexpected());
    SkipSpace(true);
    return rules_.status();
  }

  std::string Unexpected() const {
    size_t end = at_;
    jinja::NextCodePoint(source_, end);
    return absl::StrCat("\"", std::string(source_.substr(at_, end - at_)), "\" has no meaning here");
  }

  absl::Status ParseChoice(int groups, Node& out) {
    std::vector<Node> ways;
    while (true) {
      Node way = 0;
      BARN_RETURN_IF_ERROR(ParseSequence(groups, way));
      ways.push_back(way);
      // An alternative may begin a new line, which no rule can.
      const size_t end = at_;
      SkipSpace(true);
      if (!Take('|')) {
        if (groups == 0) at_ = end;
        break;
      }
      SkipSpace(true);
    }
    out = rules_.Choice(ways);
    return absl::OkStatus();
  }

  absl::Status ParseSequence(int groups, Node& out) {
    std::vector<Node> parts;
    while (!AtEnd()) {
      const char c = Peek();
      if (c == '*' || c == '+' || c == '?' || c == '{') {
        if (parts.empty()) return Error(absl::StrFormat("\"%c\" has nothing before it to repeat", c));
        BARN_RETURN_IF_ERROR(ParseRepeat(parts.back()));
      } else if (c == '"' || c == '[' || c == '.' || c == '(' || c == '<' || IsNameChar(c)) {
        Node part = 0;
        BARN_RETURN_IF_ERROR(ParsePart(groups, part));
        parts.push_back(part);
      } else {
        break;
      }
      BARN_RETURN_IF_ERROR(rules_.status());
      SkipSpace(groups > 0);
    }
    out = rules_.Sequence(parts);
    return absl::OkStatus();
  }

  absl::Status ParsePart(int groups, Node& out) {
    switch (Peek()) {
      case '"':
        return ParseLiteral(out);
      case '[':
        return ParseClass(out);
      case '<':
        return ParseToken(out);
      case '.':
        ++at_;
        out = rules_.Class(CodePointSet::Any());
        return absl::OkStatus();
      case '(':
        return ParseGroup(groups, out);
      default:
        break;
    }
    const size_t begin = at_;
    const int32_t rule = rules_.FindOrAddRule(TakeName());
    references_.emplace_back(rule, begin);
    out = rules_.Reference(rule);
    return absl::OkStatus();
  }

  absl::Status ParseGroup(int groups, Node& out) {
    const size_t begin = at_++;
    if (groups >= kGroupsMax) return ErrorAt(begin, absl::StrCat("more than ", kGroupsMax, " nested groups"));
    SkipSpace(true);
    BARN_RETURN_IF_ERROR(ParseChoice(groups + 1, out));
    if (AtEnd()) return ErrorAt(begin, "this group is never closed");
    return Take(')') ? absl::OkStatus() : Error(Unexpected());
  }

  absl::Status ParseLiteral(Node& out) {
    const size_t begin = at_++;
    std::string bytes;
    while (!Take('"')) {
      if (AtEnd() || Peek() == '\n') return ErrorAt(begin, "this literal is never closed");
      uint32_t point = 0;
      BARN_RETURN_IF_ERROR(ParsePoint(point));
      jinja::AppendUtf8(point, bytes);
    }
    out = rules_.Literal(bytes);
    return absl::OkStatus();
  }

  absl::Status ParseClass(Node& out) {
    const size_t begin = at_++;
    const bool negated = Take('^');
    std::vector<CodePointSet::Range> ranges;
    while (!Take(']')) {
      if (AtEnd() || Peek() == '\n') return ErrorAt(begin, "this class is never closed");
      uint32_t low = 0;
      BARN_RETURN_IF_ERROR(ParsePoint(low));
      uint32_t high = low;
      if (Peek() == '-' && Peek(1) != ']' && Peek(1) != '\0') {
        const size_t dash = at_++;
        BARN_RETURN_IF_ERROR(ParsePoint(high));
        if (high < low) return ErrorAt(dash, "the range ends before it begins");
      }
      ranges.push_back({low, high});
    }
    const CodePointSet set(std::move(ranges));
    const CodePointSet members = negated ? set.Complement() : set;
    if (members.empty()) return ErrorAt(begin, "this class has no members");
    out = rules_.Class(members);
    return absl::OkStatus();
  }

  // A character of a literal or a class, maybe escaped.
  absl::Status ParsePoint(uint32_t& point) {
    if (Peek() != '\\') {
      point = jinja::NextCodePoint(source_, at_);
      return absl::OkStatus();
    }
    const size_t begin = at_++;
    const char kind = Peek();
    ++at_;
    switch (kind) {
      case 'n':
        point = '\n';
        return absl::OkStatus();
      case 'r':
        point = '\r';
        return absl::OkStatus();
      case 't':
        point = '\t';
        return absl::OkStatus();
      case 'x':
        return ParseHex(begin, 2, point);
      case 'u':
        return ParseHex(begin, 4, point);
      case 'U':
        return ParseHex(begin, 8, point);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        point = static_cast<unsigned char>(kind);
        return absl::OkStatus();
      default:
        return ErrorAt(begin, "an unknown escape; known are \\n \\r \\t \\x \\u \\U and \\ before \\ \" [ ] - ^");
    }
  }

  absl::Status ParseHex(size_t begin, int digits, uint32_t& point) {
    point = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      if (!std::isxdigit(static_cast<unsigned char>(c))) {
        return ErrorAt(begin, absl::StrCat("this escape takes ", digits, " hexadecimal digits"));
      }
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      point = point << 4 | static_cast<uint32_t>(digit);
    }
    if (point > kCodePointMax || (point >= 0xD800 && point <= 0xDFFF)) {
      return ErrorAt(begin, absl::StrFormat("U+%04X is no character", point));
    }
    return absl::OkStatus();
  }

  absl::Status ParseToken(Node& out) {
    const size_t begin = at_++;
    int64_t id = 0;
    if (!Take('[') || !TakeNumber(INT32_MAX, id) || !Take(']') || !Take('>')) {
      return ErrorAt(begin, "a token is written <[ID]>, ID being its number in the vocabulary");
    }
    out = rules_.Token(static_cast<int32_t>(id));
    return absl::OkStatus();
  }

  // Digits up to `max`.
  bool TakeNumber(int64_t max, int64_t& number) {
    const size_t begin = at_;
    for (number = 0; std::isdigit(static_cast<unsigned char>(Peek())); ++at_) {
      number = number * 10 + (Peek() - '0');
      if (number > max) return false;
    }
    return at_ > begin;
  }

  absl::Status ParseRepeat(Node& part) {
    const size_t begin = at_;
    int64_t min = 0, max = kUnbounded;
    switch (source_[at_++]) {
      case '*':
        break;
      case '+':
        min = 1;
        break;
      case '?':
        max = 1;
        break;
      default: {
        SkipSpace(false);
        bool good = TakeNumber(kRepeatMax, min);
        SkipSpace(false);
        max = min;
        if (good && Take(',')) {
          SkipSpace(false);
          if (Peek() == '}')
            max = kUnbounded;
          else
            good = TakeNumber(kRepeatMax, max);
          SkipSpace(false);
        }
        if (!good || !Take('}')) {
          return ErrorAt(begin, absl::StrCat("a count is written {n}, {n,} or {n,m}, at most ", kRepeatMax));
        }
        if (max != kUnbounded && max < min) return ErrorAt(begin, "the larger count stands first");
      }
    }
    part = rules_.Repeat(part, min, max);
    return absl::OkStatus();
  }

  const std::string_view source_;
  Rules& rules_;
  size_t at_ = 0;
  std::vector<std::pair<int32_t, size_t>> references_;  // And where they stand.
};

}  // namespace

absl::Status ParseGbnf(std::string_view source, Rules& rules) { return Parser(source, rules).Run(); }

}  // namespace barn::grammar
