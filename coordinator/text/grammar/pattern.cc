#include "coordinator/text/grammar/pattern.h"

#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/code_points.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int kGroupsMax = 100;

const CodePointSet& Ascii() {
  static const CodePointSet set({{0, 0x7F}});
  return set;
}

class PatternParser {
 public:
  PatternParser(std::string_view pattern, Rules& rules, JsonText& json)
      : pattern_(pattern), rules_(rules), json_(json) {}

  absl::StatusOr<Node> Run() {
    std::vector<Node> ways;
    do {
      std::vector<Node> parts;
      if (!Take('^')) parts.push_back(Anything());
      Node body = 0;
      BARN_RETURN_IF_ERROR(ParseSequence(0, body));
      parts.push_back(body);
      if (!Take('$')) parts.push_back(Anything());
      ways.push_back(rules_.Sequence(parts));
    } while (Take('|'));
    if (!AtEnd()) return Error("has no meaning here");
    return rules_.Choice(ways);
  }

 private:
  bool AtEnd() const { return at_ >= pattern_.size(); }
  char Peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool Take(char c) {
    if (AtEnd() || Peek() != c) return false;
    ++at_;
    return true;
  }
  bool TakeText(std::string_view text) {
    if (pattern_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  absl::Status Error(std::string_view what) const {
    if (AtEnd()) return absl::InvalidArgumentError(absl::StrCat("it ends too early: ", std::string(what)));
    size_t end = at_;
    jinja::NextCodePoint(pattern_, end);
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(pattern_.substr(at_, end - at_)), "\" at byte ", at_, " ", std::string(what)));
  }

  Node Anything() { return rules_.Repeat(json_.AnyPoint(), 0, kUnbounded); }

  absl::Status ParseChoice(int groups, Node& out) {
    std::vector<Node> ways;
    do {
      BARN_RETURN_IF_ERROR(ParseSequence(groups, ways.emplace_back()));
    } while (Take('|'));
    out = rules_.Choice(ways);
    return absl::OkStatus();
  }

  absl::Status ParseSequence(int groups, Node& out) {
    std::vector<Node> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      if (Peek() == '$' && groups == 0 && (at_ + 1 == pattern_.size() || Peek(1) == '|')) break;
      Node part = 0;
      BARN_RETURN_IF_ERROR(ParseAtom(groups, part));
      BARN_RETURN_IF_ERROR(ParseQuantifier(part));
      BARN_RETURN_IF_ERROR(rules_.status());
      parts.push_back(part);
    }
    out = rules_.Sequence(parts);
    return absl::OkStatus();
  }

  absl::Status ParseAtom(int groups, Node& out) {
    switch (Peek()) {
      case '^':
      case '$':
        return Error("is only supported at the start (^) or end ($) of the pattern or of its top-level alternatives");
      case '*':
      case '+':
      case '?':
      case '{':
        return Error("has nothing before it to repeat");
      case '(':
        return ParseGroup(groups, out);
      case '[':
        return ParseClass(out);
      case '.':
        ++at_;
        out = json_.Point(CodePointSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).Complement());
        return absl::OkStatus();
      default: {
        CodePointSet set;
        BARN_RETURN_IF_ERROR(ParsePoint(/*in_class=*/false, set));
        out = json_.Point(set);
        return absl::OkStatus();
      }
    }
  }

  absl::Status ParseGroup(int groups, Node& out) {
    if (groups >= kGroupsMax) return Error(absl::StrCat("opens more than ", kGroupsMax, " nested groups"));
    const size_t begin = at_++;
    if (Take('?') && !Take(':')) {
      const bool named = Peek() == '<' && Peek(1) != '=' && Peek(1) != '!';
      if (named) {
        while (!AtEnd() && Peek() != '>') ++at_;
      }
      if (!named || !Take('>')) {
        at_ = begin;
        return Error("begins a group that looks around or sets flags, which is not supported");
      }
    }
    BARN_RETURN_IF_ERROR(ParseChoice(groups + 1, out));
    if (Take(')')) return absl::OkStatus();
    at_ = begin;
    return Error("opens a group that is never closed");
  }

  bool TakeNumber(int64_t& number) {
    const size_t begin = at_;
    for (number = 0; std::isdigit(static_cast<unsigned char>(Peek())) && number <= kRepeatMax; ++at_) {
      number = number * 10 + (Peek() - '0');
    }
    return at_ > begin && number <= kRepeatMax;
  }

  absl::Status ParseQuantifier(Node& part) {
    int64_t min = 0, max = kUnbounded;
    const size_t begin = at_;
    if (Take('+')) {
      min = 1;
    } else if (Take('?')) {
      max = 1;
    } else if (Take('{')) {
      bool good = TakeNumber(min);
      max = min;
      if (good && Take(',')) {
        if (Peek() == '}')
          max = kUnbounded;
        else
          good = TakeNumber(max);
      }
      if (!good || !Take('}') || (max != kUnbounded && max < min)) {
        at_ = begin;
        return Error(absl::StrCat("begins no count {n}, {n,} or {n,m} up to ", kRepeatMax));
      }
    } else if (!Take('*')) {
      return absl::OkStatus();
    }
    Take('?');  // As few as possible: the same strings match.
    part = rules_.Repeat(part, min, max);
    return absl::OkStatus();
  }

  absl::Status ParseClass(Node& out) {
    const size_t begin = at_++;
    const bool negated = Take('^');
    CodePointSet set;
    while (!Take(']')) {
      if (AtEnd()) {
        at_ = begin;
        return Error("opens a class that is never closed");
      }
      CodePointSet low, high;
      BARN_RETURN_IF_ERROR(ParsePoint(/*in_class=*/true, low));
      if (Peek() == '-' && Peek(1) != ']' && at_ + 1 < pattern_.size()) {
        ++at_;
        BARN_RETURN_IF_ERROR(ParsePoint(/*in_class=*/true, high));
        const auto single = [](const CodePointSet& one) {
          return one.ranges().size() == 1 && one.ranges()[0].low == one.ranges()[0].high;
        };
        if (!single(low) || !single(high) || high < low) {
          --at_;
          return Error("ends a range that is none");
        }
        low = CodePointSet({{low.ranges()[0].low, high.ranges()[0].low}});
      }
      set = set.Union(low);
    }
    out = json_.Point(negated ? set.Complement() : set);
    return absl::OkStatus();
  }

  // A character, or a class that an escape names.
  absl::Status ParsePoint(bool in_class, CodePointSet& set) {
    if (Peek() != '\\') {
      set = CodePointSet::One(jinja::NextCodePoint(pattern_, at_));
      return absl::OkStatus();
    }
    static const CodePointSet kDigit({{'0', '9'}});
    static const CodePointSet kWord({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}});
    static const CodePointSet kSpace({{'\t', '\r'}, {' ', ' '}});
    const auto take = [&](const CodePointSet& found) {
      at_ += 2;
      set = found;
      return absl::OkStatus();
    };
    const char c = Peek(1);
    switch (c) {
      case 'd':
        return take(kDigit);
      case 'D':
        return take(Ascii().Minus(kDigit));
      case 'w':
        return take(kWord);
      case 'W':
        return take(Ascii().Minus(kWord));
      case 's':
        return take(kSpace);
      // Both dialects count U+001C to U+001F and some above ASCII differently.
      case 'S':
        return take(CodePointSet({{0x21, 0x7E}}));
      case 'n':
        return take(CodePointSet::One('\n'));
      case 'r':
        return take(CodePointSet::One('\r'));
      case 't':
        return take(CodePointSet::One('\t'));
      case 'f':
        return take(CodePointSet::One('\f'));
      case 'v':
        return take(CodePointSet::One('\v'));
      case 'x':
        return ParseHex(2, set);
      case 'u':
        return ParseHex(4, set);
      case 'b':
        if (in_class) return take(CodePointSet::One('\b'));
        break;
      default:
        if (std::ispunct(static_cast<unsigned char>(c))) return take(CodePointSet::One(static_cast<unsigned char>(c)));
    }
    return Error(absl::StrCat("begins an escape that is not supported: \\", std::string(1, c)));
  }

  absl::Status ParseHex(int digits, CodePointSet& set) {
    uint32_t point = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = Peek(2 + static_cast<size_t>(i));
      if (!std::isxdigit(static_cast<unsigned char>(c))) {
        return Error(absl::StrCat("begins an escape that takes ", digits, " hexadecimal digits"));
      }
      point = point << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    set = CodePointSet::One(point);
    if (set.empty()) return Error("begins an escape for half of a character, which is not supported");
    at_ += 2 + static_cast<size_t>(digits);
    return absl::OkStatus();
  }

  const std::string_view pattern_;
  Rules& rules_;
  JsonText& json_;
  size_t at_ = 0;
};

#define BARN_YEAR "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
#define BARN_DATE                                                                                        \
  "(" BARN_YEAR                                                                                          \
  "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-" \
  "8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)"
#define BARN_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BARN_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define BARN_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define BARN_H16 "[0-9A-Fa-f]{1,4}"

// With the names in the order of kFormats.
constexpr std::pair<std::string_view, std::string_view> kFormatPatterns[] = {
    {"date", "^" BARN_DATE "$"},
    {"time", "^" BARN_TIME "$"},
    {"date-time", "^" BARN_DATE "T" BARN_TIME "$"},
    // RFC 3339, appendix A: units in order, none left out between two.
    {"duration",
     "^P([0-9]{1,9}W|([0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}D)(T([0-9]{1,9}H([0-"
     "9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))?|T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]"
     "{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))$"},
    {"email", "^[A-Za-z0-9_+-]{1,24}(\\.[A-Za-z0-9_+-]{1,12}){0,2}@" BARN_LABEL "(\\." BARN_LABEL "){1,4}$"},
    {"hostname", "^(" BARN_LABEL "\\.){0,4}[A-Za-z]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$"},
    {"ipv4", "^" BARN_BYTE "(\\." BARN_BYTE "){3}$"},
    {"ipv6", "^((" BARN_H16 ":){7}" BARN_H16 "|::(" BARN_H16 "(:" BARN_H16 "){0,6})?|" BARN_H16 "::(" BARN_H16
             "(:" BARN_H16 "){0,5})?|" BARN_H16 "(:" BARN_H16 "){1}::(" BARN_H16 "(:" BARN_H16 "){0,4})?|" BARN_H16
             "(:" BARN_H16 "){2}::(" BARN_H16 "(:" BARN_H16 "){0,3})?|" BARN_H16 "(:" BARN_H16 "){3}::(" BARN_H16
             "(:" BARN_H16 "){0,2})?|" BARN_H16 "(:" BARN_H16 "){4}::(" BARN_H16 "(:" BARN_H16 "){0,1})?|" BARN_H16
             "(:" BARN_H16 "){5}::(" BARN_H16 ")?|" BARN_H16 "(:" BARN_H16 "){6}::)$"},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"},
};

}  // namespace

absl::StatusOr<Node> CompilePattern(std::string_view pattern, Rules& rules, JsonText& json) {
  return PatternParser(pattern, rules, json).Run();
}

std::string_view FormatPattern(std::string_view format) {
  for (const auto& [name, pattern] : kFormatPatterns) {
    if (name == format) return pattern;
  }
  return "";
}

}  // namespace barn::grammar
