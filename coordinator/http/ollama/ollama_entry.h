#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "coordinator/http/served_model.h"

namespace barn {

// What Ollama says of a model wherever it lists some.
nlohmann::json OllamaDetails(const ModelFacts& facts);
nlohmann::json OllamaModelEntry(const std::string& id, const ModelFacts& facts);
nlohmann::json OllamaCapabilities(const ServedModel& model);

}  // namespace barn
