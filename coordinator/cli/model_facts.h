#pragma once

#include <string>

#include "coordinator/http/served_model.h"
#include "sharding/gguf.h"

namespace barn {

// What clients may ask about the model, from its header. `chat_template` is the one in use.
ModelFacts ReadModelFacts(const GgufModel& model, const std::string& chat_template);

}  // namespace barn
