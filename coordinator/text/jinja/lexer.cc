#include "coordinator/text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/code_points.h"

namespace barn::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

constexpr std::string_view kBlanks = " \t\n\v\f\r";

std::string NormalizeNewlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool StartsName(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool ContinuesName(char c) { return StartsName(c) || absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (status_.ok() && at_ < source_.size()) Step();
    if (!status_.ok()) return status_;
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // Text up to the next tag, and the tag.
  void Step() {
    size_t open = at_;
    do {
      open = source_.find('{', open);
    } while (open != source_.npos && !IsOpening(open) && ++open);
    std::string_view text = std::string_view(source_).substr(at_, open - at_);
    if (open == source_.npos) {
      AddText(text);
      at_ = source_.size();
      return;
    }
    const char kind = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    AddText(StripBefore(text, kind, sign));
    line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n')) - text_lines_;
    at_ = open + 2 + (sign == '-' || (sign == '+' && kind != '{') ? 1 : 0);
    line_starts_ = false;
    if (kind == '#') {
      Comment();
    } else if (kind == '%' && Word(at_) == "raw") {
      Raw();
    } else {
      Add(kind == '{' ? TokenKind::kOpenOutput : TokenKind::kOpenBlock, source_.substr(open, 2));
      Inside(kind);
    }
  }

  bool IsOpening(size_t at) const {
    return at + 1 < source_.size() && (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#');
  }

  // lstrip_blocks: blanks between the start of a line and a block or comment go; a minus takes all white space.
  std::string_view StripBefore(std::string_view text, char kind, char sign) const {
    if (sign == '-') return text.substr(0, text.find_last_not_of(kBlanks) + 1);
    if (kind == '{' || sign == '+') return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == text.npos ? 0 : newline + 1;
    if (line == 0 && !line_starts_) return text;
    const std::string_view blanks = text.substr(line);
    return blanks.find_first_not_of(kBlanks) == blanks.npos ? text.substr(0, line) : text;
  }

  // Behind a tag's end: trim_blocks takes one newline, a minus all white space, a plus nothing.
  void SkipAfter(bool block, char sign) {
    const size_t from = at_;
    if (sign == '-') {
      while (at_ < source_.size() && absl::ascii_isspace(static_cast<unsigned char>(source_[at_]))) ++at_;
    } else if (block && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      ++at_;
    }
    line_ += static_cast<int>(std::count(source_.begin() + from, source_.begin() + at_, '\n'));
    line_starts_ = at_ > from && source_[at_ - 1] == '\n';
  }

  void Comment() {
    const size_t end = source_.find("#}", at_);
    if (end == source_.npos) return Fail("a comment that is not closed");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    line_ += static_cast<int>(std::count(source_.begin() + at_, source_.begin() + end, '\n'));
    at_ = end + 2;
    SkipAfter(true, sign);
  }

  // {% raw %} ... {% endraw %}: nothing inside is a tag.
  void Raw() {
    char sign = ' ';
    const size_t begin = EndOfBlock(source_.find("raw", at_) + 3, sign);
    if (begin == source_.npos) return Fail("raw block that is not closed");
    at_ = begin;
    SkipAfter(true, sign);
    for (size_t open = source_.find("{%", at_); open != source_.npos; open = source_.find("{%", open + 2)) {
      const char before = open + 2 < source_.size() ? source_[open + 2] : ' ';
      const size_t word = open + 2 + (before == '-' || before == '+' ? 1 : 0);
      if (Word(word) != "endraw") continue;
      const size_t end = EndOfBlock(source_.find("endraw", word) + 6, sign);
      if (end == source_.npos) break;
      const std::string_view text = std::string_view(source_).substr(at_, open - at_);
      AddText(StripBefore(text, '%', before));
      line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n')) - text_lines_;
      at_ = end;
      return SkipAfter(true, sign);
    }
    Fail("raw block that is not closed");
  }

  // Behind the %} that follows blanks from `at` on; npos if something else does.
  size_t EndOfBlock(size_t at, char& sign) const {
    while (at < source_.size() && absl::ascii_isspace(static_cast<unsigned char>(source_[at]))) ++at;
    sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : ' ';
    return source_.compare(at, 2, "%}") == 0 ? at + 2 : source_.npos;
  }

  std::string_view Word(size_t at) const {
    while (at < source_.size() && absl::ascii_isspace(static_cast<unsigned char>(source_[at]))) ++at;
    size_t end = at;
    while (end < source_.size() && ContinuesName(source_[end])) ++end;
    return std::string_view(source_).substr(at, end - at);
  }

  // The tokens of a tag, up to its end.
  void Inside(char kind) {
    const char* const close = kind == '{' ? "}}" : "%}";
    const TokenKind closing = kind == '{' ? TokenKind::kCloseOutput : TokenKind::kCloseBlock;
    int braces = 0;
    while (status_.ok()) {
      while (at_ < source_.size() && absl::ascii_isspace(static_cast<unsigned char>(source_[at_]))) {
        line_ += source_[at_++] == '\n' ? 1 : 0;
      }
      if (at_ >= source_.size()) return Fail("a tag that is not closed");
      const char c = source_[at_];
      const bool sign = c == '-' || c == '+';
      if (braces == 0 && source_.compare(at_ + (sign ? 1 : 0), 2, close) == 0) {
        Add(closing, close);
        at_ += sign ? 3 : 2;
        return SkipAfter(kind == '%', sign ? c : ' ');
      }
      if (c == '{') ++braces;
      if (c == '}') --braces;
      NextInside(c);
    }
  }

  void NextInside(char c) {
    if (c == '\'' || c == '"') {
      String(c);
    } else if (StartsName(c)) {
      const std::string_view word = Word(at_);
      Add(TokenKind::kName, word);
      at_ += word.size();
    } else if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      Number();
    } else {
      for (const std::string_view known : kOperators) {
        if (source_.compare(at_, known.size(), known) != 0) continue;
        Add(TokenKind::kOperator, known);
        at_ += known.size();
        return;
      }
      Fail(absl::StrCat("'", source_.substr(at_, 1), "' where an expression is due"));
    }
  }

  void Number() {
    const auto digits = [&] {
      while (at_ < source_.size() &&
             (absl::ascii_isdigit(static_cast<unsigned char>(source_[at_])) || source_[at_] == '_')) {
        ++at_;
      }
    };
    const auto digit_at = [&](size_t at) {
      return at < source_.size() && absl::ascii_isdigit(static_cast<unsigned char>(source_[at]));
    };
    const size_t begin = at_;
    bool is_float = false;
    digits();
    if (at_ < source_.size() && source_[at_] == '.' && digit_at(at_ + 1)) {
      is_float = true;
      ++at_;
      digits();
    }
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      const size_t sign = at_ + 1 < source_.size() && (source_[at_ + 1] == '-' || source_[at_ + 1] == '+') ? 1 : 0;
      if (digit_at(at_ + 1 + sign)) {
        is_float = true;
        at_ += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(begin, at_ - begin);
    std::erase(text, '_');
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, text);
  }

  void String(char quote) {
    std::string text;
    const int line = line_;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] == '\n') ++line_;
      if (source_[at_] == '\\' && at_ + 1 < source_.size()) {
        Escape(text);
      } else {
        text += source_[at_];
      }
    }
    if (at_ >= source_.size()) return Fail("a string that is not closed");
    ++at_;
    tokens_.push_back({.kind = TokenKind::kString, .text = std::move(text), .line = line});
  }

  // At a backslash; leaves at_ on the last character of the escape. Unknown ones stay as they are, as in Python.
  void Escape(std::string& text) {
    const char c = source_[++at_];
    static constexpr std::string_view kLetters = "nrtbfav0\\'\"", kMeaning("\n\r\t\b\f\a\v\0\\'\"", 11);
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) {
      uint32_t point = 0;
      for (size_t i = 0; i < digits; ++i) {
        const char digit = at_ + 1 < source_.size() ? source_[at_ + 1] : ' ';
        if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return Fail("an escape without its digits");
        const int value = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
        point = point << 4 | static_cast<uint32_t>(value);
        ++at_;
      }
      AppendUtf8(point, text);
    } else if (c == '\n') {
      ++line_;
    } else if (const size_t found = kLetters.find(c); found != kLetters.npos) {
      text += kMeaning[found];
    } else {
      text += '\\';
      text += c;
    }
  }

  void AddText(std::string_view text) {
    text_lines_ = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (!text.empty()) Add(TokenKind::kText, text);
    line_ += text_lines_;
  }
  void Add(TokenKind kind, std::string_view text) {
    tokens_.push_back({.kind = kind, .text = std::string(text), .line = line_});
  }
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  int text_lines_ = 0;       // Newlines of the text added last.
  bool line_starts_ = true;  // What comes next stands at the start of a line.
  absl::Status status_;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(NormalizeNewlines(source)).Run(); }

}  // namespace barn::jinja
