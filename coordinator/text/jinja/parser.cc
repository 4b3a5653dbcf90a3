#include "coordinator/text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/expression_parser.h"

namespace barn::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : in_(std::move(tokens)) {}

  absl::StatusOr<Body> Run() {
    Body body = ParseBody({});
    if (!in_.ok()) return in_.status();
    return body;
  }

 private:
  // Up to a block whose name is one of `ends`, of which the opening is taken and the name is left; to the end of the
  // template when there are none.
  Body ParseBody(Names ends) {
    const ExpressionParser::Depth depth(in_);
    Body body;
    while (in_.ok()) {
      const Token token = in_.token();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0)
          in_.Fail(absl::StrCat("the template ends where '", std::string(*(ends.end() - 1)), "' is due"));
        break;
      }
      in_.Take();
      if (token.kind == TokenKind::kText) {
        body.push_back({.kind = StatementKind::kText, .line = token.line, .text = token.text});
      } else if (token.kind == TokenKind::kOpenOutput) {
        body.push_back({.kind = StatementKind::kOutput, .line = token.line, .expression = in_.ParseTuple()});
        in_.Expect(TokenKind::kCloseOutput, "'}}'");
      } else {
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return in_.IsName(end); })) break;
        body.push_back(ParseStatement(token.line));
      }
    }
    return body;
  }

  void CloseBlock() { in_.Expect(TokenKind::kCloseBlock, "'%}'"); }

  // Behind the opening of an ending block: its name and its end.
  void End(std::string_view name) {
    in_.Expect(name);
    CloseBlock();
  }

  Statement ParseStatement(int line) {
    const std::string name = in_.ExpectName();
    Statement statement{.line = line};
    if (name == "if") {
      ParseIf(statement);
    } else if (name == "for") {
      ParseFor(statement);
    } else if (name == "set") {
      ParseSet(statement);
    } else if (name == "macro") {
      ParseMacro(statement);
    } else if (name == "call") {
      ParseCallBlock(statement);
    } else if (name == "filter") {
      ParseSimple(statement, StatementKind::kFilterBlock, "endfilter");
    } else if (name == "generation") {
      ParseSimple(statement, StatementKind::kBody, "endgeneration");
    } else if (name == "with") {
      ParseWith(statement);
    } else if (name == "break" || name == "continue") {
      statement.kind = name == "break" ? StatementKind::kBreak : StatementKind::kContinue;
      if (loops_ == 0) in_.Fail(absl::StrCat("'", name, "' outside of a loop"));
      CloseBlock();
    } else if (in_.ok()) {
      in_.Fail(absl::StrCat("the statement '", name.substr(0, 40), "' is not supported here"));
    }
    return statement;
  }

  void ParseIf(Statement& statement) {
    statement.kind = StatementKind::kIf;
    statement.expression = in_.ParseTuple();
    CloseBlock();
    statement.body = ParseBody({"elif", "else", "endif"});
    if (!in_.ok()) return;
    const ExpressionParser::Depth depth(in_);  // A chain of elif is as deep as it is long.
    const int line = in_.token().line;
    if (in_.Skip("elif")) {
      Statement rest{.line = line};
      ParseIf(rest);
      statement.otherwise.push_back(std::move(rest));
    } else if (in_.Skip("else")) {
      CloseBlock();
      statement.otherwise = ParseBody({"endif"});
      End("endif");
    } else {
      End("endif");
    }
  }

  void ParseNames(std::vector<std::string>& names) {
    const bool parenthesis = in_.Skip("(");
    do {
      if (in_.IsName("in") || in_.IsOperator("=") || in_.IsOperator(")")) break;
      names.push_back(in_.ExpectName());
    } while (in_.ok() && in_.Skip(","));
    if (parenthesis) in_.Expect(")");
  }

  void ParseFor(Statement& statement) {
    statement.kind = StatementKind::kFor;
    ParseNames(statement.names);
    in_.Expect("in");
    statement.expression = in_.ParseTuple(/*choice=*/false);
    if (in_.Skip("if")) statement.filter = in_.Parse();
    if (in_.IsName("recursive")) in_.Fail("recursive loops are not supported");
    CloseBlock();
    ++loops_;
    statement.body = ParseBody({"else", "endfor"});
    --loops_;
    if (in_.Skip("else")) {
      CloseBlock();
      statement.otherwise = ParseBody({"endfor"});
    }
    End("endfor");
  }

  void ParseSet(Statement& statement) {
    statement.kind = StatementKind::kSet;
    ParseNames(statement.names);
    if (in_.Skip(".")) statement.attribute = in_.ExpectName();
    if (in_.Skip("=")) {
      statement.expression = in_.ParseTuple();
      return CloseBlock();
    }
    statement.kind = StatementKind::kSetBlock;
    if (statement.names.size() != 1 || !statement.attribute.empty()) in_.Fail("a set block has one name");
    if (in_.Skip("|")) statement.filter = in_.ParseFilters();
    CloseBlock();
    statement.body = ParseBody({"endset"});
    End("endset");
  }

  void ParseParameters(Statement& statement) {
    in_.Expect("(");
    while (in_.ok() && !in_.IsOperator(")")) {
      std::string name = in_.ExpectName();
      ExpressionPtr value = in_.Skip("=") ? in_.Parse() : nullptr;
      if (value == nullptr && !statement.parameters.empty() && statement.parameters.back().second != nullptr) {
        in_.Fail(absl::StrCat("the parameter '", name, "' without a default behind one with"));
      }
      statement.parameters.emplace_back(std::move(name), std::move(value));
      if (!in_.Skip(",")) break;
    }
    in_.Expect(")");
  }

  // A loop outside of a macro is not one inside.
  Body ParseOwnBody(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = ParseBody({end});
    loops_ = loops;
    End(end);
    return body;
  }

  void ParseMacro(Statement& statement) {
    statement.kind = StatementKind::kMacro;
    statement.text = in_.ExpectName();
    ParseParameters(statement);
    CloseBlock();
    statement.body = ParseOwnBody("endmacro");
  }

  void ParseCallBlock(Statement& statement) {
    statement.kind = StatementKind::kCallBlock;
    statement.text = "caller";
    if (in_.IsOperator("(")) ParseParameters(statement);
    statement.expression = in_.Parse();
    if (in_.ok() && statement.expression->kind != ExpressionKind::kCall) in_.Fail("a call block needs a call");
    CloseBlock();
    statement.body = ParseOwnBody("endcall");
  }

  void ParseSimple(Statement& statement, StatementKind kind, std::string_view end) {
    statement.kind = kind;
    if (kind == StatementKind::kFilterBlock) statement.filter = in_.ParseFilters();
    CloseBlock();
    statement.body = ParseBody({end});
    End(end);
  }

  void ParseWith(Statement& statement) {
    statement.kind = StatementKind::kWith;
    while (in_.ok() && !in_.Is(TokenKind::kCloseBlock)) {
      std::string name = in_.ExpectName();
      in_.Expect("=");
      statement.parameters.emplace_back(std::move(name), in_.Parse());
      if (!in_.Skip(",")) break;
    }
    CloseBlock();
    statement.body = ParseBody({"endwith"});
    End("endwith");
  }

  ExpressionParser in_;
  int loops_ = 0;  // Around the statement at hand, within the same macro.
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(std::string_view source) {
  constexpr size_t kSourceBytesMax = 1 << 20;
  if (source.size() > kSourceBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a template of ", source.size(), " bytes, at most ", kSourceBytesMax, " are allowed"));
  }
  absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  return Parser(*std::move(tokens)).Run();
}

}  // namespace barn::jinja
