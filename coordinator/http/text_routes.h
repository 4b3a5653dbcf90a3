#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

// What tools ask a server about texts and tokens, by the names that other servers use.
RouteResult Tokenize(const ApiContext& context, const HttpRequest& request);
RouteResult Detokenize(const ApiContext& context, const HttpRequest& request);
RouteResult ApplyTemplate(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
