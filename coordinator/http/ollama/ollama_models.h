#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

// What changes Ollama's store of models. This server has none: it serves the model that it was started with, so what is
// so already succeeds, and the rest is refused with the reason.
RouteResult OllamaPull(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaPush(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaCreate(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaCopy(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaDelete(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
