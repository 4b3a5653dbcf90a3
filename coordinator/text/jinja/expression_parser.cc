#include "coordinator/text/jinja/expression_parser.h"

#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/builtins.h"

namespace barn::jinja {
namespace {

// Every level takes a few stack frames here and in the renderer.
constexpr int kDepthMax = 100;

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kText:
      return "text";
    case TokenKind::kString:
      return absl::StrCat("the string '", token.text.substr(0, 40), "'");
    default:
      return absl::StrCat("'", token.text.substr(0, 40), "'");
  }
}

}  // namespace

ExpressionParser::Depth::Depth(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.depth_ > kDepthMax) parser_.Fail(absl::StrCat("it is nested deeper than ", kDepthMax));
}

void ExpressionParser::Fail(const std::string& what) {
  if (!ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat("line ", token().line, ": ", what));
  at_ = tokens_.size() - 1;  // Every loop ends at the end.
}

bool ExpressionParser::Skip(std::string_view text) {
  if (!IsOperator(text) && !IsName(text)) return false;
  Take();
  return true;
}

void ExpressionParser::Expect(std::string_view text) {
  if (!Skip(text)) Fail(absl::StrCat(Describe(token()), " where '", std::string(text), "' is due"));
}

void ExpressionParser::Expect(TokenKind kind, std::string_view what) {
  if (!Is(kind)) return Fail(absl::StrCat(Describe(token()), " where ", std::string(what), " is due"));
  Take();
}

std::string ExpressionParser::ExpectName() {
  if (!Is(TokenKind::kName)) {
    Fail(absl::StrCat(Describe(token()), " where a name is due"));
    return "";
  }
  return Take().text;
}

ExpressionPtr ExpressionParser::New(ExpressionKind kind, std::string_view text) const {
  return std::make_unique<Expression>(Expression{.kind = kind, .line = token().line, .text = std::string(text)});
}

ExpressionPtr ExpressionParser::Wrap(ExpressionKind kind, ExpressionPtr first, std::string_view text) const {
  ExpressionPtr result = New(kind, text);
  result->items.push_back(std::move(first));
  return result;
}

ExpressionPtr ExpressionParser::Parse(bool choice) {
  const Depth depth(*this);
  if (!ok()) return New(ExpressionKind::kLiteral);
  ExpressionPtr value = ParseOr();
  while (choice && ok() && Skip("if")) {
    ExpressionPtr result = Wrap(ExpressionKind::kChoice, std::move(value));
    result->items.push_back(ParseOr());
    result->items.push_back(Skip("else") ? Parse() : nullptr);
    value = std::move(result);
  }
  return value;
}

ExpressionPtr ExpressionParser::ParseTuple(bool choice) {
  ExpressionPtr first = Parse(choice);
  if (!IsOperator(",")) return first;
  ExpressionPtr tuple = Wrap(ExpressionKind::kTuple, std::move(first));
  while (ok() && Skip(",")) {
    if (Is(TokenKind::kCloseBlock) || Is(TokenKind::kCloseOutput) || IsOperator(")")) break;
    tuple->items.push_back(Parse(choice));
  }
  return tuple;
}

ExpressionPtr ExpressionParser::ParseOr() {
  ExpressionPtr left = ParseAnd();
  while (ok() && IsName("or")) {
    Take();
    left = Wrap(ExpressionKind::kOr, std::move(left));
    left->items.push_back(ParseAnd());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseAnd() {
  ExpressionPtr left = ParseNot();
  while (ok() && IsName("and")) {
    Take();
    left = Wrap(ExpressionKind::kAnd, std::move(left));
    left->items.push_back(ParseNot());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseComparison();
  const Depth depth(*this);
  Take();
  if (!ok()) return New(ExpressionKind::kLiteral);
  return Wrap(ExpressionKind::kUnary, ParseNot(), "not");
}

ExpressionPtr ExpressionParser::ParseComparison() {
  static constexpr std::string_view kOperators[] = {"==", "!=", ">=", "<=", ">", "<", "in"};
  ExpressionPtr left = ParseSum();
  ExpressionPtr chain;
  while (ok()) {
    std::string found;
    for (const std::string_view known : kOperators) {
      if (IsOperator(known) || (known == "in" && IsName(known))) found = known;
    }
    if (!found.empty()) {
      Take();
    } else if (IsName("not") && at_ + 1 < tokens_.size() && tokens_[at_ + 1].kind == TokenKind::kName &&
               tokens_[at_ + 1].text == "in") {
      Take(), Take();
      found = "not in";
    } else {
      break;
    }
    if (chain == nullptr) chain = Wrap(ExpressionKind::kCompare, std::move(left));
    chain->operators.push_back(found);
    chain->items.push_back(ParseSum());
  }
  return chain != nullptr ? std::move(chain) : std::move(left);
}

ExpressionPtr ExpressionParser::ParseSum() {
  ExpressionPtr left = ParseConcatenation();
  while (ok() && (IsOperator("+") || IsOperator("-"))) {
    left = Wrap(ExpressionKind::kBinary, std::move(left), Take().text);
    left->items.push_back(ParseConcatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseConcatenation() {
  ExpressionPtr left = ParseProduct();
  while (ok() && IsOperator("~")) {
    left = Wrap(ExpressionKind::kBinary, std::move(left), Take().text);
    left->items.push_back(ParseProduct());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseProduct() {
  ExpressionPtr left = ParsePower();
  while (ok() && (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%"))) {
    left = Wrap(ExpressionKind::kBinary, std::move(left), Take().text);
    left->items.push_back(ParsePower());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParsePower() {
  ExpressionPtr left = ParseUnary();
  while (ok() && IsOperator("**")) {
    left = Wrap(ExpressionKind::kBinary, std::move(left), Take().text);
    left->items.push_back(ParseUnary());
  }
  return left;
}

// A sign binds tighter than filters and powers: -1|abs is (-1)|abs, -2 ** 2 is 4.
ExpressionPtr ExpressionParser::ParseUnary(bool with_filters) {
  const Depth depth(*this);
  if (!ok()) return New(ExpressionKind::kLiteral);
  ExpressionPtr value;
  if (IsOperator("-") || IsOperator("+")) {
    const std::string sign = Take().text;
    value = Wrap(ExpressionKind::kUnary, ParseUnary(/*with_filters=*/false), sign);
  } else {
    value = ParsePostfix(ParsePrimary());
  }
  return with_filters ? ParseFiltersAndTests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::ParsePrimary() {
  if (IsOperator("(")) return ParseParenthesis();
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  ExpressionPtr result = New(ExpressionKind::kLiteral);
  if (Is(TokenKind::kString)) {
    std::string text;
    while (Is(TokenKind::kString)) text += Take().text;
    result->value = Value(std::move(text));
  } else if (Is(TokenKind::kInteger)) {
    int64_t number = 0;
    const std::string& digits = token().text;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), number).ec != std::errc()) {
      Fail(absl::StrCat("the number ", digits.substr(0, 40), " is too large"));
    }
    Take();
    result->value = Value(number);
  } else if (Is(TokenKind::kFloat)) {
    double number = 0;
    const std::string& digits = token().text;
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    Take();
    result->value = Value(number);
  } else if (Is(TokenKind::kName)) {
    const std::string name = Take().text;
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      result->value = Value(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      result->value = Value(None{});
    } else {
      result->kind = ExpressionKind::kName;
      result->text = name;
    }
  } else {
    Fail(absl::StrCat(Describe(token()), " where an expression is due"));
  }
  return result;
}

ExpressionPtr ExpressionParser::ParsePostfix(ExpressionPtr value) {
  int levels = 0;
  while (ok()) {
    if (++levels > kDepthMax) Fail(absl::StrCat("more than ", kDepthMax, " attributes and calls in a row"));
    if (Skip(".")) {
      if (Is(TokenKind::kInteger)) {
        ExpressionPtr index = New(ExpressionKind::kLiteral);
        index->value = Value(static_cast<int64_t>(std::atoll(Take().text.c_str())));
        value = Wrap(ExpressionKind::kIndex, std::move(value));
        value->items.push_back(std::move(index));
      } else {
        value = Wrap(ExpressionKind::kAttribute, std::move(value));
        value->text = ExpectName();
      }
    } else if (Skip("[")) {
      value = ParseSubscript(std::move(value));
    } else if (Skip("(")) {
      value = Wrap(ExpressionKind::kCall, std::move(value));
      ParseArguments(*value);
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr ExpressionParser::ParseSubscript(ExpressionPtr subject) {
  ExpressionPtr result = Wrap(ExpressionKind::kSlice, std::move(subject));
  result->items.resize(4);
  size_t part = 1;
  while (ok() && !IsOperator("]")) {
    if (Skip(":")) {
      if (++part > 3) Fail("a slice has at most three parts");
    } else {
      result->items[std::min<size_t>(part, 3)] = ParseTuple();
      if (!IsOperator(":") && !IsOperator("]")) Fail(absl::StrCat(Describe(token()), " where ']' is due"));
    }
  }
  Expect("]");
  if (part == 1) {
    if (result->items[1] == nullptr) Fail("a subscript without a value");
    result->kind = ExpressionKind::kIndex;
    result->items.resize(2);
  }
  return result;
}

void ExpressionParser::ParseArguments(Expression& call) {
  while (ok() && !IsOperator(")")) {
    if (IsOperator("*") || IsOperator("**")) Fail("arguments with * and ** are not supported");
    const bool named = Is(TokenKind::kName) && at_ + 1 < tokens_.size() &&
                       tokens_[at_ + 1].kind == TokenKind::kOperator && tokens_[at_ + 1].text == "=";
    if (named) {
      std::string name = Take().text;
      Take();
      call.named.emplace_back(std::move(name), Parse());
    } else {
      if (!call.named.empty()) Fail("a positional argument behind a named one");
      call.items.push_back(Parse());
    }
    if (!Skip(",") && !IsOperator(")")) Fail(absl::StrCat(Describe(token()), " where ')' is due"));
  }
  Expect(")");
}

ExpressionPtr ExpressionParser::ParseFiltersAndTests(ExpressionPtr value) {
  int levels = 0;
  while (ok()) {
    if (++levels > kDepthMax) Fail(absl::StrCat("more than ", kDepthMax, " filters in a row"));
    if (Skip("|")) {
      value = ParsePostfix(ParseFilter(std::move(value)));
    } else if (IsName("is")) {
      Take();
      value = ParseTest(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr ExpressionParser::ParseFilters() {
  ExpressionPtr value = ParseFilter(nullptr);
  while (ok() && Skip("|")) value = ParseFilter(std::move(value));
  return value;
}

ExpressionPtr ExpressionParser::ParseFilter(ExpressionPtr input) {
  ExpressionPtr filter = Wrap(ExpressionKind::kFilter, std::move(input));
  filter->text = ExpectName();
  if (ok() && !IsFilter(filter->text)) Fail(absl::StrCat("no filter is named '", filter->text, "'"));
  if (Skip("(")) ParseArguments(*filter);
  return filter;
}

ExpressionPtr ExpressionParser::ParseTest(ExpressionPtr subject) {
  const bool negated = Skip("not");
  ExpressionPtr test = Wrap(ExpressionKind::kTest, std::move(subject));
  test->text = IsOperator("==") ? Take().text : ExpectName();
  if (ok() && !IsTest(test->text)) Fail(absl::StrCat("no test is named '", test->text, "'"));
  const bool argument_follows = Is(TokenKind::kString) || Is(TokenKind::kInteger) || Is(TokenKind::kFloat) ||
                                IsOperator("[") || IsOperator("{") ||
                                (Is(TokenKind::kName) && !IsName("else") && !IsName("or") && !IsName("and") &&
                                 !IsName("if") && !IsName("is") && !IsName("in") && !IsName("not"));
  if (Skip("(")) {
    ParseArguments(*test);
  } else if (argument_follows) {
    test->items.push_back(ParsePostfix(ParsePrimary()));
  }
  return negated ? Wrap(ExpressionKind::kUnary, std::move(test), "not") : std::move(test);
}

ExpressionPtr ExpressionParser::ParseList() {
  ExpressionPtr list = New(ExpressionKind::kList);
  Expect("[");
  while (ok() && !IsOperator("]")) {
    list->items.push_back(Parse());
    if (!Skip(",") && !IsOperator("]")) Fail(absl::StrCat(Describe(token()), " where ']' is due"));
  }
  Expect("]");
  return list;
}

ExpressionPtr ExpressionParser::ParseDict() {
  ExpressionPtr dict = New(ExpressionKind::kDict);
  Expect("{");
  while (ok() && !IsOperator("}")) {
    dict->items.push_back(Parse());
    Expect(":");
    dict->items.push_back(Parse());
    if (!Skip(",") && !IsOperator("}")) Fail(absl::StrCat(Describe(token()), " where '}' is due"));
  }
  Expect("}");
  return dict;
}

ExpressionPtr ExpressionParser::ParseParenthesis() {
  Expect("(");
  if (Skip(")")) return New(ExpressionKind::kTuple);
  ExpressionPtr value = ParseTuple();
  Expect(")");
  return value;
}

}  // namespace barn::jinja
