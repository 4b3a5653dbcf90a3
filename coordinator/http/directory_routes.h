#pragma once

#include <span>

#include "absl/strings/string_view.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/model_directory.h"
#include "coordinator/http/model_wish.h"

namespace barn {

// What these routes may look at. All of it outlives them.
struct DirectoryContext {
  ModelDirectory& models;
  const HttpMetrics& metrics;
  AccessGate* gate = nullptr;  // Null: nobody needs a key.
};

// `lease`: the model that the body names; null where the route needs none.
using DirectoryHandler = RouteResult (*)(const DirectoryContext& context, const HttpRequest& request,
                                         const ModelLease* lease);

// A path of a server with several models that is about all of them, or about having them. The others are about one
// model, and the same as where one is served.
struct DirectoryRoute {
  absl::string_view path;  // One that ends with '/' stands for all that begin so.
  absl::string_view method;
  DirectoryHandler handle;
  Access access = Access::kRead;
  ModelNeed need = ModelNeed::kNothing;
};

std::span<const DirectoryRoute> DirectoryRoutes();

}  // namespace barn
