#include "sharding/faster_nodes.h"

#include <algorithm>
#include <numeric>

#include "sharding/speed.h"

namespace barn {
namespace {

constexpr double kSlowShare = 0.6;  // Of the fastest of a kind; a node with less is of another kind.
constexpr size_t kGroupsMax = 8;    // Each is worth a plan, and of nodes there may be hundreds.

}  // namespace

std::vector<std::vector<int>> FasterNodes(std::span<const PlanNode> nodes) {
  const auto speed = [&](int node) { return ReadBytesPerSecond(nodes[static_cast<size_t>(node)]); };
  std::vector<int> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return speed(a) > speed(b); });
  std::vector<std::vector<int>> groups;
  double fastest = order.empty() ? 0 : speed(order.front());
  for (size_t i = 1; i < order.size() && groups.size() < kGroupsMax; ++i) {
    if (speed(order[i]) >= kSlowShare * fastest) continue;
    fastest = speed(order[i]);
    groups.emplace_back(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(i));
    std::sort(groups.back().begin(), groups.back().end());
  }
  return groups;
}

}  // namespace barn
