#include "coordinator/text/grammar/rules.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace barn::grammar {

Node Rules::Add(Expression expression) {
  parts_ += static_cast<int64_t>(expression.parts.size());
  if (size() + parts_ >= kExpressionsMax) {
    status_ = absl::ResourceExhaustedError(
        absl::StrFormat("it has more than %d expressions, which is the bound", kExpressionsMax));
    return 0;  // Rules that are full stay as they are.
  }
  expressions_.push_back(std::move(expression));
  return size() - 1;
}

Node Rules::Literal(std::string_view bytes) {
  const auto [found, added] = literal_nodes_.try_emplace(std::string(bytes), 0);
  if (added) {
    literals_.emplace_back(bytes);
    found->second = Add({.kind = Kind::kLiteral, .value = static_cast<int32_t>(literals_.size()) - 1});
  }
  return found->second;
}

Node Rules::Class(const CodePointSet& set) {
  if (set.empty()) return Never();
  classes_.push_back(set);
  return Add({.kind = Kind::kClass, .value = static_cast<int32_t>(classes_.size()) - 1});
}

Node Rules::Token(int32_t id) { return Add({.kind = Kind::kToken, .value = id}); }

Node Rules::Sequence(const std::vector<Node>& parts) {
  std::vector<Node> kept;
  for (const Node part : parts) {
    if (IsNever(part)) return part;
    if (!IsEmpty(part)) kept.push_back(part);
  }
  if (kept.empty()) return Empty();
  if (kept.size() == 1) return kept[0];
  return Add({.kind = Kind::kSequence, .parts = std::move(kept)});
}

Node Rules::Choice(const std::vector<Node>& parts) {
  std::vector<Node> kept;
  for (const Node part : parts) {
    if (!IsNever(part)) kept.push_back(part);
  }
  if (kept.size() == 1) return kept[0];
  return Add({.kind = Kind::kChoice, .parts = std::move(kept)});
}

Node Rules::Repeat(Node part, int64_t min, int64_t max) {
  if (max == 0 || (min == 0 && IsNever(part)) || IsEmpty(part)) return Empty();
  if (IsNever(part) || (min == 1 && max == 1)) return part;
  return Add(
      {.kind = Kind::kRepeat, .min = static_cast<int32_t>(min), .max = static_cast<int32_t>(max), .parts = {part}});
}

Node Rules::Reference(int32_t rule) { return Add({.kind = Kind::kRule, .value = rule}); }

int32_t Rules::AddRule(std::string name) {
  if (rule_count() >= kRulesMax) {
    status_ = absl::ResourceExhaustedError(absl::StrFormat("it has more than %d rules, which is the bound", kRulesMax));
    return 0;
  }
  rules_.push_back({.name = std::move(name)});
  return rule_count() - 1;
}

int32_t Rules::FindOrAddRule(std::string_view name) {
  const int32_t known = FindRule(name);
  if (known >= 0) return known;
  const int32_t rule = AddRule(std::string(name));
  rules_by_name_.emplace(std::string(name), rule);
  return rule;
}

int32_t Rules::FindRule(std::string_view name) const {
  const auto found = rules_by_name_.find(std::string(name));
  return found == rules_by_name_.end() ? -1 : found->second;
}

void Rules::ReplaceRepeat(Node node, Node part, int32_t min) {
  expressions_[node].parts[0] = part;
  expressions_[node].min = min;
}

}  // namespace barn::grammar
