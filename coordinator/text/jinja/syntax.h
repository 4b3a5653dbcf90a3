#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/text/jinja/value.h"

namespace barn::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  kLiteral,    // value
  kName,       // text
  kList,       // items
  kTuple,      // items
  kDict,       // items: key, value, key, value
  kAttribute,  // items[0] . text
  kIndex,      // items[0] [items[1]]
  kSlice,      // items[0] [items[1] : items[2] : items[3]], the last three may be null
  kCall,       // items[0] (items[1 ..], named)
  kFilter,     // items[0] | text(items[1 ..], named); items[0] is null in a filter block
  kTest,       // items[0] is text(items[1 ..])
  kUnary,      // text: not, - or +
  kBinary,     // items[0] text items[1]
  kCompare,    // items[0] operators[0] items[1] operators[1] items[2] ...
  kAnd,
  kOr,
  kChoice,  // items[0] if items[1] else items[2], which may be null
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  int line = 0;
  std::string text = {};
  Value value = {};
  std::vector<ExpressionPtr> items = {};
  std::vector<std::string> operators = {};
  std::vector<std::pair<std::string, ExpressionPtr>> named = {};
};

enum class StatementKind {
  kText,         // text
  kOutput,       // expression
  kIf,           // expression, body, otherwise
  kFor,          // names (of one item), expression, filter, body, otherwise
  kSet,          // names, expression; name.attribute = expression where `attribute` is set
  kSetBlock,     // names[0], filter, body
  kMacro,        // text (its name), parameters, body
  kCallBlock,    // expression (a call), parameters, body
  kFilterBlock,  // filter, body
  kWith,         // parameters with values, body
  kBody,         // body
  kBreak,
  kContinue,
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text = {};
  std::vector<std::string> names = {};
  std::string attribute = {};
  ExpressionPtr expression = {};
  ExpressionPtr filter = {};
  std::vector<std::pair<std::string, ExpressionPtr>> parameters = {};  // Names with defaults, which may be null.
  Body body = {};
  Body otherwise = {};
};

}  // namespace barn::jinja
