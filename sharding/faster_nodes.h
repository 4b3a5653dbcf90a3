#pragma once

#include <span>
#include <vector>

#include "sharding/plan.h"

namespace barn {

// Groups of nodes that may be better off alone, because each of the others is slow beside them: the fastest nodes,
// those and the next slower ones, and so on, without the group of all. Indices ascend. At most 8 groups; the slowest
// nodes count as one kind then.
std::vector<std::vector<int>> FasterNodes(std::span<const PlanNode> nodes);

}  // namespace barn
