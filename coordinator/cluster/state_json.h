#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/scheduler/engine.h"
#include "coordinator/scheduler/fleet.h"

namespace barn {

// The state as JSON text, for `barn status`. `model` is what people call it.
std::string StateJson(const EngineState& state, const std::string& model);

// The same of several models, in a list "models" with where each stands.
std::string FleetJson(const std::vector<std::pair<std::string, ModelStanding>>& models, absl::Time now);

}  // namespace barn
