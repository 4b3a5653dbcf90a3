#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

RouteResult OpenAiModels(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiModel(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiCompletion(const ApiContext& context, const HttpRequest& request);
RouteResult OpenAiChat(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
