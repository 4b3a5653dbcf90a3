#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

RouteResult OllamaChat(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaGenerate(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaTags(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaRunning(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaShow(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaVersion(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
