#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

RouteResult AnthropicMessages(const ApiContext& context, const HttpRequest& request);
RouteResult AnthropicCountTokens(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
