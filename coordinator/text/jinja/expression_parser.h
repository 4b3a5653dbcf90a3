#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/text/jinja/lexer.h"
#include "coordinator/text/jinja/syntax.h"

namespace barn::jinja {

// Reads expressions from tokens. After an error every call returns an empty expression, and status() tells the first.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // With `choice`, `a if b else c` is one expression.
  ExpressionPtr Parse(bool choice = true);
  // The same, where a list without brackets is a tuple.
  ExpressionPtr ParseTuple(bool choice = true);
  // name | name(...) | ..., as in a filter block: the innermost one's input is null.
  ExpressionPtr ParseFilters();
  // What stands behind the opening parenthesis of a call, and that behind it.
  void ParseArguments(Expression& call);

  const Token& token() const { return tokens_[at_]; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool Is(TokenKind kind) const { return token().kind == kind; }
  bool IsOperator(std::string_view text) const { return Is(TokenKind::kOperator) && token().text == text; }
  bool IsName(std::string_view text) const { return Is(TokenKind::kName) && token().text == text; }
  bool Skip(std::string_view text);  // An operator or a name; false if it is not there.
  void Expect(std::string_view text);
  void Expect(TokenKind kind, std::string_view what);
  std::string ExpectName();

  void Fail(const std::string& what);
  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

  // One for every level of expressions and blocks.
  class Depth {
   public:
    explicit Depth(ExpressionParser& parser);
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  ExpressionPtr New(ExpressionKind kind, std::string_view text = "") const;
  ExpressionPtr Wrap(ExpressionKind kind, ExpressionPtr first, std::string_view text = "") const;
  ExpressionPtr ParseOr();
  ExpressionPtr ParseAnd();
  ExpressionPtr ParseNot();
  ExpressionPtr ParseComparison();
  ExpressionPtr ParseSum();
  ExpressionPtr ParseConcatenation();
  ExpressionPtr ParseProduct();
  ExpressionPtr ParsePower();
  ExpressionPtr ParseUnary(bool with_filters = true);
  ExpressionPtr ParsePrimary();
  ExpressionPtr ParsePostfix(ExpressionPtr expression);
  ExpressionPtr ParseFiltersAndTests(ExpressionPtr expression);
  ExpressionPtr ParseFilter(ExpressionPtr input);
  ExpressionPtr ParseTest(ExpressionPtr subject);
  ExpressionPtr ParseSubscript(ExpressionPtr expression);
  ExpressionPtr ParseList();
  ExpressionPtr ParseDict();
  ExpressionPtr ParseParenthesis();

  std::vector<Token> tokens_;  // The last is kEnd.
  size_t at_ = 0;
  int depth_ = 0;
  absl::Status status_;
};

}  // namespace barn::jinja
