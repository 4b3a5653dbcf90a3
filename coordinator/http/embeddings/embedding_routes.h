#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

RouteResult OpenAiEmbed(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaEmbedRoute(const ApiContext& context, const HttpRequest& request);
RouteResult OllamaEmbeddingsRoute(const ApiContext& context, const HttpRequest& request);
RouteResult Rerank(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
