#include "sharding/plan_text.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "sharding/byte_text.h"

namespace barn {
namespace {

double MemoryShare(const PlanRank& rank, const PlanNode& node) {
  return static_cast<double>(rank.total_bytes()) / static_cast<double>(node.memory_bytes);
}

std::vector<std::string> UnusedNodes(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  std::vector<bool> used(nodes.size());
  for (const PlanStage& stage : plan.stages) {
    for (const PlanRank& rank : stage.ranks) used[static_cast<size_t>(rank.node)] = true;
  }
  std::vector<std::string> names;
  for (size_t node = 0; node < nodes.size(); ++node) {
    if (!used[node]) names.push_back(nodes[node].name);
  }
  return names;
}

void AppendHostTier(const PlanStage& stage, std::span<const PlanNode> nodes, std::string* text) {
  const PlanRank& alone = stage.ranks.front();
  if (stage.host_expert_layers == 0) return;
  const PlanNode& node = nodes[static_cast<size_t>(alone.node)];
  absl::StrAppendFormat(text, "\n%s: experts of layers %d to %d lie with its host, %s of %s, and are computed there\n",
                        node.name, stage.last_layer - stage.host_expert_layers, stage.last_layer - 1,
                        ByteText(alone.host_bytes), ByteText(node.host_memory_bytes));
}

}  // namespace

std::string PlanText(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  std::string text = absl::StrFormat("context  %d tokens over all sequences (%d KV blocks of %d, %s)\n\n",
                                     plan.context_tokens, plan.kv_blocks, plan.kv_block_tokens, KvTypeName(plan.kv));
  absl::StrAppendFormat(&text, "%-5s %-20s %-11s %10s %10s %10s %10s %10s %6s\n", "stage", "node", "layers", "weights",
                        "KV", "scratch", "total", "memory", "full");
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const PlanStage& stage = plan.stages[i];
    for (size_t r = 0; r < stage.ranks.size(); ++r) {
      const PlanRank& rank = stage.ranks[r];
      const PlanNode& node = nodes[static_cast<size_t>(rank.node)];
      const std::string name = stage.ranks.size() > 1 ? absl::StrFormat("%d.%d", i, r) : absl::StrFormat("%d", i);
      const std::string layers = absl::StrFormat("%d to %d", stage.first_layer, stage.last_layer - 1);
      absl::StrAppendFormat(&text, "%-5s %-20s %-11s %10s %10s %10s %10s %10s %5.1f%%\n", name, node.name, layers,
                            ByteText(rank.weights_bytes), ByteText(rank.kv_bytes), ByteText(rank.scratch_bytes),
                            ByteText(rank.total_bytes()), ByteText(node.memory_bytes), 100 * MemoryShare(rank, node));
    }
  }
  for (const PlanStage& stage : plan.stages) AppendHostTier(stage, nodes, &text);
  if (!plan.reason.empty()) absl::StrAppendFormat(&text, "\n%s\n", plan.reason);
  if (const std::string unused = UnusedText(plan, nodes); !unused.empty())
    absl::StrAppendFormat(&text, "\n%s\n", unused);
  return text;
}

std::string UnusedText(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  const std::vector<std::string> unused = UnusedNodes(plan, nodes);
  if (unused.empty()) return "";
  return absl::StrFormat("unused (%s): %s", plan.unused_reason.empty() ? "more nodes than layers" : plan.unused_reason,
                         absl::StrJoin(unused, ", "));
}

nlohmann::json PlanJson(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  nlohmann::json json = {{"context_tokens", plan.context_tokens},
                         {"kv_block_tokens", plan.kv_block_tokens},
                         {"kv_blocks", plan.kv_blocks},
                         {"kv", KvTypeName(plan.kv)},
                         {"stages", nlohmann::json::array()},
                         {"unused_nodes", UnusedNodes(plan, nodes)},
                         {"unused_reason", plan.unused_reason},
                         {"reason", plan.reason},
                         {"stream_tokens_per_s", plan.stream_tokens_per_s}};
  for (const PlanStage& stage : plan.stages) {
    for (size_t r = 0; r < stage.ranks.size(); ++r) {
      const PlanRank& rank = stage.ranks[r];
      const PlanNode& node = nodes[static_cast<size_t>(rank.node)];
      json["stages"].push_back({{"node", node.name},
                                {"memory_bytes", node.memory_bytes},
                                {"first_layer", stage.first_layer},
                                {"last_layer", stage.last_layer},
                                {"rank", r},
                                {"ranks", stage.ranks.size()},
                                {"weights_bytes", rank.weights_bytes},
                                {"kv_bytes", rank.kv_bytes},
                                {"scratch_bytes", rank.scratch_bytes},
                                {"total_bytes", rank.total_bytes()},
                                {"host_memory_bytes", node.host_memory_bytes},
                                {"host_bytes", rank.host_bytes},
                                {"host_expert_layers", stage.host_expert_layers},
                                {"memory_share", MemoryShare(rank, node)}});
    }
  }
  return json;
}

}  // namespace barn
