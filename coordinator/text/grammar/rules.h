#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "coordinator/text/grammar/code_point_set.h"

namespace barn::grammar {

// Bounds of one grammar; what does not fit is refused with the number.
inline constexpr int64_t kSourceBytesMax = 512 << 10;
inline constexpr int64_t kRulesMax = 20'000;
inline constexpr int64_t kExpressionsMax = 300'000;
inline constexpr int64_t kRepeatMax = 1'000'000;  // Largest count in x{n,m}.
inline constexpr int kNestingMax = 1'000;         // Expressions inside of expressions.

using Node = int32_t;  // An expression: its index in Rules.

enum class Kind : uint8_t {
  kLiteral,   // Bytes, maybe none.
  kClass,     // One code point of a set.
  kToken,     // One token, by id.
  kSequence,  // All parts, in order.
  kChoice,    // One of the parts; without parts it matches nothing at all.
  kRepeat,    // The part, min to max times.
  kRule,      // What a rule matches.
};

struct Expression {
  Kind kind = Kind::kChoice;
  int32_t value = 0;  // kLiteral, kClass: index in Rules; kToken: its id; kRule: the rule.
  int32_t min = 0;    // kRepeat.
  int32_t max = 0;    // kRepeat; kUnbounded for any number.
  std::vector<Node> parts = {};
};

inline constexpr int32_t kUnbounded = -1;

struct Rule {
  std::string name;
  Node body = -1;  // -1: not defined yet.
};

// The rules of one grammar, which GBNF and JSON schemas are both read into. Expressions never change once made and may
// be parts of several others. Beyond the bounds status() is not OK and what is made is of no use.
class Rules {
 public:
  Node Empty() { return Literal(""); }
  Node Never() { return Choice({}); }
  Node Literal(std::string_view bytes);
  Node Class(const CodePointSet& set);
  Node Token(int32_t id);
  Node Sequence(const std::vector<Node>& parts);
  Node Choice(const std::vector<Node>& parts);
  Node Repeat(Node part, int64_t min, int64_t max);
  Node Optional(Node part) { return Repeat(part, 0, 1); }
  Node Reference(int32_t rule);

  // The rule of this name, made if there is none.
  int32_t FindOrAddRule(std::string_view name);
  // A rule that no grammar text can name; `name` is for messages.
  int32_t AddRule(std::string name);
  int32_t FindRule(std::string_view name) const;  // -1: there is none.
  void Define(int32_t rule, Node body) { rules_[rule].body = body; }

  const Expression& operator[](Node node) const { return expressions_[node]; }
  const Rule& rule(int32_t index) const { return rules_[index]; }
  const std::string& literal(int32_t index) const { return literals_[index]; }
  const CodePointSet& code_points(int32_t index) const { return classes_[index]; }
  int32_t size() const { return static_cast<int32_t>(expressions_.size()); }
  int32_t rule_count() const { return static_cast<int32_t>(rules_.size()); }
  bool IsNever(Node node) const { return expressions_[node].kind == Kind::kChoice && expressions_[node].parts.empty(); }
  bool IsEmpty(Node node) const {
    return expressions_[node].kind == Kind::kLiteral && literals_[expressions_[node].value].empty();
  }

  // ResourceExhausted with the bound that was passed.
  const absl::Status& status() const { return status_; }

  // For Normalize() alone: gives an expression another part and lower bound.
  void ReplaceRepeat(Node node, Node part, int32_t min);

 private:
  Node Add(Expression expression);

  std::vector<Expression> expressions_;
  std::vector<Rule> rules_;
  std::vector<std::string> literals_;
  std::vector<CodePointSet> classes_;
  absl::flat_hash_map<std::string, int32_t> rules_by_name_;
  absl::flat_hash_map<std::string, Node> literal_nodes_;
  int64_t parts_ = 0;
  absl::Status status_;
};

}  // namespace barn::grammar
