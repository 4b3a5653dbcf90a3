#pragma once

#include "coordinator/http/api_context.h"

namespace barn {

// llama-server's own completions, and answers for a gap in a file.
RouteResult NativeCompletion(const ApiContext& context, const HttpRequest& request);
RouteResult NativeInfill(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
