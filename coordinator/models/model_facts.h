#pragma once

#include <string>

#include "coordinator/http/served_model.h"
#include "sharding/gguf.h"

namespace barn {

// What clients may ask about the model, from its header. `chat_template` is the one in use, `version` that of the
// server.
ModelFacts ReadModelFacts(const GgufModel& model, const std::string& chat_template, const std::string& version);

}  // namespace barn
