#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

RouteResult OpenAiResponse(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
