#include "sharding/plan_text.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "sharding/byte_text.h"

namespace barn {
namespace {

int64_t TotalBytes(const PlanStage& stage) { return stage.weights_bytes + stage.kv_bytes + stage.scratch_bytes; }

double MemoryShare(const PlanStage& stage, const PlanNode& node) {
  return static_cast<double>(TotalBytes(stage)) / static_cast<double>(node.memory_bytes);
}

std::vector<std::string> UnusedNodes(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  std::vector<bool> used(nodes.size());
  for (const PlanStage& stage : plan.stages) used[static_cast<size_t>(stage.node)] = true;
  std::vector<std::string> names;
  for (size_t node = 0; node < nodes.size(); ++node) {
    if (!used[node]) names.push_back(nodes[node].name);
  }
  return names;
}

}  // namespace

std::string PlanText(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  std::string text = absl::StrFormat("context  %d tokens over all sequences (%d KV blocks of %d, %s)\n\n",
                                     plan.context_tokens, plan.kv_blocks, plan.kv_block_tokens, KvTypeName(plan.kv));
  absl::StrAppendFormat(&text, "%-5s %-20s %-11s %10s %10s %10s %10s %10s %6s\n", "stage", "node", "layers", "weights",
                        "KV", "scratch", "total", "memory", "full");
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const PlanStage& stage = plan.stages[i];
    const PlanNode& node = nodes[static_cast<size_t>(stage.node)];
    const std::string layers = absl::StrFormat("%d to %d", stage.first_layer, stage.last_layer - 1);
    absl::StrAppendFormat(&text, "%-5d %-20s %-11s %10s %10s %10s %10s %10s %5.1f%%\n", i, node.name, layers,
                          ByteText(stage.weights_bytes), ByteText(stage.kv_bytes), ByteText(stage.scratch_bytes),
                          ByteText(TotalBytes(stage)), ByteText(node.memory_bytes), 100 * MemoryShare(stage, node));
  }
  const std::vector<std::string> unused = UnusedNodes(plan, nodes);
  if (!unused.empty()) {
    absl::StrAppendFormat(&text, "\nunused (more nodes than layers): %s\n", absl::StrJoin(unused, ", "));
  }
  return text;
}

nlohmann::json PlanJson(const ShardPlan& plan, std::span<const PlanNode> nodes) {
  nlohmann::json json = {{"context_tokens", plan.context_tokens}, {"kv_block_tokens", plan.kv_block_tokens},
                         {"kv_blocks", plan.kv_blocks},           {"kv", KvTypeName(plan.kv)},
                         {"stages", nlohmann::json::array()},     {"unused_nodes", UnusedNodes(plan, nodes)}};
  for (const PlanStage& stage : plan.stages) {
    const PlanNode& node = nodes[static_cast<size_t>(stage.node)];
    json["stages"].push_back({{"node", node.name},
                              {"memory_bytes", node.memory_bytes},
                              {"first_layer", stage.first_layer},
                              {"last_layer", stage.last_layer},
                              {"weights_bytes", stage.weights_bytes},
                              {"kv_bytes", stage.kv_bytes},
                              {"scratch_bytes", stage.scratch_bytes},
                              {"total_bytes", TotalBytes(stage)},
                              {"memory_share", MemoryShare(stage, node)}});
  }
  return json;
}

}  // namespace barn
