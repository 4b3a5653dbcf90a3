#include "coordinator/text/grammar/analysis.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

namespace barn::grammar {
namespace {

// The expressions that directly depend on each expression: parents, and for a rule's body the references to the rule.
class Dependents {
 public:
  explicit Dependents(const Rules& rules) : begin_(rules.size() + 1, 0) {
    ForEach(rules, [&](Node from, Node) { ++begin_[from + 1]; });
    for (size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
    all_.resize(begin_.back());
    std::vector<int32_t> next(begin_.begin(), begin_.end() - 1);
    ForEach(rules, [&](Node from, Node to) { all_[next[from]++] = to; });
  }

  template <class Visit>
  void Of(Node node, const Visit& visit) const {
    for (int32_t i = begin_[node]; i < begin_[node + 1]; ++i) visit(all_[i]);
  }

 private:
  template <class Visit>
  static void ForEach(const Rules& rules, const Visit& visit) {
    for (Node node = 0; node < rules.size(); ++node) {
      for (const Node part : rules[node].parts) visit(part, node);
      if (rules[node].kind == Kind::kRule) visit(rules.rule(rules[node].value).body, node);
    }
  }

  std::vector<int32_t> begin_;
  std::vector<Node> all_;
};

// The least solution of: `leaf` says which expressions hold by themselves, a sequence holds when all its parts do,
// everything else when one part (or the rule's body) does.
template <class Leaf>
std::vector<bool> Solve(const Rules& rules, const Dependents& dependents, const Leaf& leaf) {
  std::vector<bool> holds(rules.size(), false);
  std::vector<int32_t> missing(rules.size(), 1);
  std::vector<Node> news;
  for (Node node = 0; node < rules.size(); ++node) {
    if (rules[node].kind == Kind::kSequence) missing[node] = static_cast<int32_t>(rules[node].parts.size());
    if (leaf(rules[node])) {
      holds[node] = true;
      news.push_back(node);
    }
  }
  while (!news.empty()) {
    const Node node = news.back();
    news.pop_back();
    dependents.Of(node, [&](Node other) {
      if (holds[other] || --missing[other] > 0) return;
      holds[other] = true;
      news.push_back(other);
    });
  }
  return holds;
}

// Makes expressions that match what others match, but for the empty text.
class NonEmpty {
 public:
  NonEmpty(Rules& rules, const std::vector<bool>& nullable) : rules_(rules), nullable_(nullable) {}

  Node Of(Node node, int depth = 0) {
    // Expressions of its own making are never empty; at the bound the grammar is refused anyway.
    if (static_cast<size_t>(node) >= nullable_.size() || !nullable_[node] || depth > kNestingMax) return node;
    const auto known = done_.find(node);
    if (known != done_.end()) return known->second;
    const Expression expression = rules_[node];
    return done_[node] = expression.kind == Kind::kRule ? OfRule(expression.value, depth) : Make(expression, depth);
  }

 private:
  // All references to a rule share one copy of it, which recursion meets, too.
  Node OfRule(int32_t original, int depth) {
    const auto [copy, added] = copies_.try_emplace(original, 0);
    if (!added) return copy->second;
    const int32_t rule = rules_.AddRule(rules_.rule(original).name);
    const Node reference = rules_.Reference(rule);
    copies_[original] = reference;
    rules_.Define(rule, rules_.Never());
    rules_.Define(rule, Of(rules_.rule(original).body, depth + 1));
    return reference;
  }

  Node Make(const Expression& expression, int depth) {
    switch (expression.kind) {
      case Kind::kChoice: {
        std::vector<Node> parts;
        for (const Node part : expression.parts) parts.push_back(Of(part, depth + 1));
        return rules_.Choice(parts);
      }
      case Kind::kRepeat:
        return rules_.Repeat(Of(expression.parts[0], depth + 1), 1, expression.max);
      case Kind::kSequence: {
        // All parts may be empty: the first that is not stands at some place, what follows it is free.
        Node rest = rules_.Empty();
        std::vector<Node> ways;
        for (size_t i = expression.parts.size(); i-- > 0;) {
          ways.push_back(rules_.Sequence({Of(expression.parts[i], depth + 1), rest}));
          rest = rules_.Sequence({expression.parts[i], rest});
        }
        return rules_.Choice(ways);
      }
      default:
        return rules_.Never();  // The empty literal.
    }
  }

  Rules& rules_;
  const std::vector<bool>& nullable_;
  absl::flat_hash_map<Node, Node> done_;
  absl::flat_hash_map<int32_t, Node> copies_;
};

// The expressions that may stand first in an expression.
template <class Visit>
void ForEachFirst(const Rules& rules, const std::vector<bool>& nullable, Node node, const Visit& visit) {
  const Expression& expression = rules[node];
  if (expression.kind == Kind::kRule) return visit(rules.rule(expression.value).body);
  for (const Node part : expression.parts) {
    visit(part);
    if (expression.kind == Kind::kSequence && !nullable[part]) return;
  }
}

}  // namespace

Analysis Analyze(const Rules& rules) {
  const Dependents dependents(rules);
  return {.nullable = Solve(rules, dependents,
                            [&](const Expression& e) {
                              return (e.kind == Kind::kLiteral && rules.literal(e.value).empty()) ||
                                     (e.kind == Kind::kRepeat && e.min == 0);
                            }),
          .productive = Solve(rules, dependents, [&](const Expression& e) {
            return e.kind == Kind::kLiteral || e.kind == Kind::kClass || e.kind == Kind::kToken ||
                   (e.kind == Kind::kRepeat && e.min == 0);
          })};
}

void Normalize(Rules& rules) {
  const std::vector<bool> nullable = Analyze(rules).nullable;
  NonEmpty non_empty(rules, nullable);
  const int32_t given = rules.size();
  for (Node node = 0; node < given; ++node) {
    if (rules[node].kind != Kind::kRepeat) continue;
    const Node part = rules[node].parts[0];
    if (nullable[part]) rules.ReplaceRepeat(node, non_empty.Of(part), 0);
  }
}

absl::Status RefuseLeftRecursion(const Rules& rules, const Analysis& analysis) {
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> state(rules.size(), kNew);
  // (expression, its firsts that are still to be seen); open expressions lie on the stack from root to leaf.
  std::vector<std::pair<Node, std::vector<Node>>> path;
  const auto open = [&](Node node) {
    state[node] = kOpen;
    std::vector<Node> firsts;
    ForEachFirst(rules, analysis.nullable, node, [&](Node first) { firsts.push_back(first); });
    path.emplace_back(node, std::move(firsts));
  };
  for (int32_t rule = 0; rule < rules.rule_count(); ++rule) {
    if (state[rules.rule(rule).body] == kNew) open(rules.rule(rule).body);
    while (!path.empty()) {
      if (path.back().second.empty()) {
        state[path.back().first] = kDone;
        path.pop_back();
        continue;
      }
      const Node next = path.back().second.back();
      path.back().second.pop_back();
      if (state[next] == kNew)
        open(next);
      else if (state[next] == kOpen) {
        // Only a reference leads back, so one lies on the cycle.
        size_t i = path.size() - 1;
        while (rules[path[i].first].kind != Kind::kRule) --i;
        return absl::InvalidArgumentError(absl::StrFormat("the rule \"%s\" is left-recursive: it begins with itself",
                                                          rules.rule(rules[path[i].first].value).name));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace barn::grammar
