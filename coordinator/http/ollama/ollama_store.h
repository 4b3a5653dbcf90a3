#pragma once

#include "coordinator/http/directory_routes.h"

namespace barn {

// Ollama's store of models, where a server offers several. What is created or pulled is a name for a file of the
// server's folder of models, or for a URL: workers fetch from there, each its part.
RouteResult StoreTags(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StoreRunning(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StoreVersion(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StoreCopy(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StoreDelete(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StorePush(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
// The wish has done the work: these say so.
RouteResult StoreCreated(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);
RouteResult StorePulled(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease);

}  // namespace barn
