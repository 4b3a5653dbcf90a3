#pragma once

#include <string>

#include "coordinator/scheduler/engine.h"

namespace barn {

// The text of `barn status --json`: the fields of EngineState and WorkerState by name, and the model's reference.
// Shares of time as {seconds, busy, wait, idle}.
std::string StateJson(const EngineState& state, const std::string& model);

}  // namespace barn
