#pragma once

#include <nlohmann/json.hpp>

#include "coordinator/http/api_context.h"
#include "coordinator/http/served_adapters.h"

namespace barn {

RouteResult OpenAiModels(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiModel(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiCompletion(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiChat(const ApiContext& context, const HttpRequest& request);

// Entries of /v1/models.
nlohmann::json OpenAiModelEntry(const ServedModel& model, const EngineState& engine);
nlohmann::json OpenAiAdapterEntry(const ServedModel& model, const ServedAdapter& adapter);

}  // namespace barn
