#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "coordinator/accounts/access_gate.h"
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
  AccessGate* gate = nullptr;  // Null: nobody needs a key.
};

using RouteHandler = RouteResult (*)(const ApiContext& context, const HttpRequest& request);

// A path that ends with '/' stands for all that begin so.
struct ApiRoute {
  absl::string_view path;
  absl::string_view method;
  RouteHandler handle;
  // What the path is for, where the method does not say it: POST generates, GET reads.
  std::optional<Access> access = std::nullopt;
};

}  // namespace barn
