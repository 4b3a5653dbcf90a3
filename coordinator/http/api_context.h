#pragma once

#include "absl/strings/string_view.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// What routes may look at. All of it outlives them.
struct ApiContext {
  const ServedModel& model;
  const Engine& engine;
  const HttpMetrics& metrics;
};

using RouteHandler = RouteResult (*)(const ApiContext& context, const HttpRequest& request);

// A path that ends with '/' stands for all that begin so.
struct ApiRoute {
  absl::string_view path;
  absl::string_view method;
  RouteHandler handle;
};

}  // namespace barn
