#pragma once

#include <memory>
#include <vector>

#include "worker/exchange/collective.h"

namespace barn {

// The twin of the shared-memory collective for ranks in one process, one thread each. A rank that is destroyed counts
// as gone. Unlike the other ranks' order, that of the result is the rank's.
std::vector<std::unique_ptr<Collective>> MakeInProcessCollectives(int ranks);

}  // namespace barn
