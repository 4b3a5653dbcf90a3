#pragma once

#include <string>

#include "coordinator/scheduler/engine.h"

namespace barn {

// The text of `barn status --json`: the fields of EngineState and WorkerState by name, and the model's reference.
std::string StateJson(const EngineState& state, const std::string& model);

}  // namespace barn
