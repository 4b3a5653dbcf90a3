#include "coordinator/text/grammar/program.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

namespace barn::grammar {
namespace {

// A rule of so few expressions stands where it is used; a call costs a matcher more than that.
constexpr int32_t kInlineCostMax = 24;
// A repetition is written out if that takes so few expressions.
constexpr int64_t kUnrollCostMax = 32;
constexpr int32_t kCostMax = 1 << 20;

using Op = Program::Op;

class Compiler {
 public:
  Compiler(const Rules& rules, const std::vector<bool>& productive)
      : rules_(rules), productive_(productive), rule_cost_(rules.rule_count(), kUnknown) {}

  absl::StatusOr<std::unique_ptr<const Program>> Run(int32_t root) {
    return_ = Add(Op::kReturn, 0, 0);
    Entry(root);
    while (!pending_.empty() && status_.ok()) {
      const int32_t rule = pending_.back();
      pending_.pop_back();
      entries_[rule] = Emit(rules_.rule(rule).body, return_, 0);
    }
    if (!status_.ok()) return status_;
    for (Program::Position& position : program_->positions) {
      if (position.op == Op::kCall) position.a = entries_.at(position.a);
    }
    program_->start = entries_.at(root);
    SetByteClasses();
    return std::move(program_);
  }

 private:
  static constexpr int32_t kUnknown = -1;
  static constexpr int32_t kBusy = -2;
  static constexpr int32_t kReserved = -1;  // In `a` of a kSplit: its targets are not known yet.

  int32_t Add(Op op, int32_t a, int32_t b) {
    if (static_cast<int64_t>(program_->positions.size()) >= kPositionsMax ||
        static_cast<int64_t>(program_->edges.size()) >= kEdgesMax) {
      status_ = absl::ResourceExhaustedError(
          absl::StrFormat("it needs more than %d positions or %d edges, which is the bound", kPositionsMax, kEdgesMax));
      return 0;
    }
    program_->positions.push_back({op, a, b});
    return static_cast<int32_t>(program_->positions.size()) - 1;
  }

  void Entry(int32_t rule) {
    if (entries_.try_emplace(rule, kUnknown).second) pending_.push_back(rule);
  }

  // The number of expressions that stand in place of this one; kCostMax if it has no end or is not to be inlined.
  int32_t Cost(Node node, int depth) {
    const Expression& expression = rules_[node];
    if (!productive_[node]) return 0;
    if (depth > kNestingMax / 4) return kCostMax;
    int64_t cost = 1;
    switch (expression.kind) {
      case Kind::kLiteral:
        return 1 + static_cast<int32_t>(rules_.literal(expression.value).size() / 4);
      case Kind::kClass:
      case Kind::kToken:
        return 1;
      case Kind::kRule: {
        int32_t& known = rule_cost_[expression.value];
        if (known == kBusy) return kCostMax;
        if (known == kUnknown) {
          known = kBusy;
          const int32_t body = Cost(rules_.rule(expression.value).body, depth + 1);
          rule_cost_[expression.value] = body;  // `known` is as good: the vector does not grow.
        }
        return rule_cost_[expression.value];
      }
      case Kind::kRepeat: {
        if (expression.max == kUnbounded) return kCostMax;
        cost = int64_t{Cost(expression.parts[0], depth + 1)} * expression.max;
        break;
      }
      default:
        for (const Node part : expression.parts) {
          cost += Cost(part, depth + 1);
          if (cost > kInlineCostMax) break;
        }
    }
    return static_cast<int32_t>(std::min<int64_t>(cost, kCostMax));
  }

  // The position that matches the expression and goes on at `next`.
  int32_t Emit(Node node, int32_t next, int depth) {
    if (depth > kNestingMax) {
      status_ = absl::ResourceExhaustedError(absl::StrFormat("it nests deeper than %d", kNestingMax));
    }
    if (!status_.ok()) return 0;
    const Expression& expression = rules_[node];
    switch (expression.kind) {
      case Kind::kLiteral:
        return EmitLiteral(rules_.literal(expression.value), next);
      case Kind::kClass:
        return EmitClass(rules_.code_points(expression.value), next);
      case Kind::kToken:
        return Add(Op::kToken, expression.value, next);
      case Kind::kSequence:
        for (size_t i = expression.parts.size(); i-- > 0;) next = Emit(expression.parts[i], next, depth + 1);
        return next;
      case Kind::kChoice:
        return EmitChoice(expression, next, depth);
      case Kind::kRepeat:
        return EmitRepeat(expression, next, depth);
      case Kind::kRule:
        break;
    }
    if (Cost(node, 0) <= kInlineCostMax) return Emit(rules_.rule(expression.value).body, next, depth + 1);
    Entry(expression.value);
    return Add(Op::kCall, expression.value, next);
  }

  int32_t EmitChoice(const Expression& expression, int32_t next, int depth) {
    std::vector<int32_t> ways;
    for (const Node part : expression.parts) {
      if (productive_[part]) ways.push_back(Emit(part, next, depth + 1));
    }
    return Split(ways);
  }

  int32_t EmitLiteral(std::string_view bytes, int32_t next) {
    for (size_t i = bytes.size(); i-- > 0;) {
      const auto byte = static_cast<uint8_t>(bytes[i]);
      next = OneEdge({byte, byte, next});
    }
    return next;
  }

  int32_t EmitClass(const CodePointSet& set, int32_t next) {
    std::vector<Program::Edge> firsts;
    for (const PlaceRanges& piece : Utf8Ranges(set)) {
      int32_t rest = next;
      for (size_t i = piece.size(); i-- > 1;) {
        rest = OneEdge({static_cast<uint8_t>(piece[i].first), static_cast<uint8_t>(piece[i].second), rest});
      }
      firsts.push_back({static_cast<uint8_t>(piece[0].first), static_cast<uint8_t>(piece[0].second), rest});
    }
    return Edges(firsts);
  }

  // Ends of characters are alike, so equal ones are shared.
  int32_t OneEdge(Program::Edge edge) {
    const auto key = std::tuple(edge.low, edge.high, edge.next);
    const auto found = shared_.find(key);
    if (found != shared_.end()) return found->second;
    return shared_[key] = Edges({edge});
  }

  int32_t Edges(const std::vector<Program::Edge>& edges) {
    const auto begin = static_cast<int32_t>(program_->edges.size());
    program_->edges.insert(program_->edges.end(), edges.begin(), edges.end());
    return Add(Op::kBytes, begin, static_cast<int32_t>(program_->edges.size()));
  }

  int32_t Split(const std::vector<int32_t>& ways) {
    if (ways.size() == 1) return ways[0];
    const int32_t position = Add(Op::kSplit, kReserved, 0);
    FillSplit(position, ways);
    return position;
  }

  // Ways that consume a byte become one position with all their edges.
  void FillSplit(int32_t position, const std::vector<int32_t>& ways) {
    std::vector<int32_t> flat;
    std::vector<Program::Edge> edges;
    int byte_ways = 0;
    const auto take = [&](int32_t way) {
      const Program::Position& one = program_->positions[way];
      if (one.op == Op::kBytes) {
        ++byte_ways;
        edges.insert(edges.end(), program_->edges.begin() + one.a, program_->edges.begin() + one.b);
      } else if (std::find(flat.begin(), flat.end(), way) == flat.end()) {
        flat.push_back(way);
      }
    };
    for (const int32_t way : ways) {
      const Program::Position one = program_->positions[way];
      if (one.op == Op::kSplit && one.a != kReserved && one.b - one.a <= kInlineCostMax) {
        for (int32_t i = one.a; i < one.b; ++i) take(program_->targets[i]);
      } else {
        take(way);
      }
    }
    if (flat.empty() && byte_ways > 0) {
      program_->positions[position] = {Op::kBytes, static_cast<int32_t>(program_->edges.size()), 0};
      program_->edges.insert(program_->edges.end(), edges.begin(), edges.end());
      program_->positions[position].b = static_cast<int32_t>(program_->edges.size());
      return;
    }
    if (byte_ways > 0) flat.push_back(Edges(edges));
    program_->positions[position] = {Op::kSplit, static_cast<int32_t>(program_->targets.size()), 0};
    program_->targets.insert(program_->targets.end(), flat.begin(), flat.end());
    program_->positions[position].b = static_cast<int32_t>(program_->targets.size());
  }

  int32_t EmitRepeat(const Expression& expression, int32_t next, int depth) {
    const Node part = expression.parts[0];
    if (!productive_[part]) return next;
    const bool unbounded = expression.max == kUnbounded;
    const int64_t rounds = unbounded ? int64_t{expression.min} + 1 : expression.max;
    // A star costs one round whatever stands in it.
    if (rounds > 1 && rounds * UnrollCost(part) > kUnrollCostMax) return EmitLoop(expression, next, depth);
    if (unbounded) {
      const int32_t star = Add(Op::kSplit, kReserved, 0);
      const int32_t body = Emit(part, star, depth + 1);
      if (status_.ok()) FillSplit(star, {body, next});
      next = star;
    }
    for (int64_t i = unbounded ? 0 : expression.max - expression.min; i > 0; --i) {
      next = Split({Emit(part, next, depth + 1), next});
    }
    for (int32_t i = 0; i < expression.min; ++i) next = Emit(part, next, depth + 1);
    return next;
  }

  int64_t UnrollCost(Node part) {
    return rules_[part].kind == Kind::kRule ? std::min(Cost(part, 0), 2) : Cost(part, 0);
  }

  int32_t EmitLoop(const Expression& expression, int32_t next, int depth) {
    const int32_t index = static_cast<int32_t>(program_->loops.size());
    program_->loops.push_back({.body = 0, .after = next, .min = expression.min, .max = expression.max});
    const int32_t end = Add(Op::kLoop, index, 0);
    const int32_t body = Emit(expression.parts[0], end, depth + 1);
    program_->loops[index].body = body;
    const int32_t enter = Add(Op::kEnter, end, 0);
    return expression.min == 0 ? Split({enter, next}) : enter;
  }

  void SetByteClasses() {
    std::array<bool, 257> begins = {};
    for (const Program::Edge& edge : program_->edges) {
      begins[edge.low] = true;
      begins[edge.high + 1] = true;
    }
    int32_t index = 0;
    for (int byte = 0; byte < 256; ++byte) {
      if (byte > 0 && begins[byte]) ++index;
      program_->byte_class[byte] = static_cast<uint8_t>(index);
    }
    program_->byte_classes = index + 1;
  }

  const Rules& rules_;
  const std::vector<bool>& productive_;
  std::vector<int32_t> rule_cost_;
  std::unique_ptr<Program> program_ = std::make_unique<Program>();
  int32_t return_ = 0;
  std::map<int32_t, int32_t> entries_;  // By rule.
  std::vector<int32_t> pending_;        // Rules that were called and are not compiled yet.
  absl::flat_hash_map<std::tuple<uint8_t, uint8_t, int32_t>, int32_t> shared_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Program>> CompileRules(const Rules& rules, int32_t root,
                                                            const std::vector<bool>& productive) {
  return Compiler(rules, productive).Run(root);
}

}  // namespace barn::grammar
