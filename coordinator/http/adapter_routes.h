#pragma once

#include "coordinator/http/answer.h"
#include "coordinator/http/api_context.h"

namespace barn {

// vLLM's routes: {"lora_name", "lora_path"} loads, {"lora_name"} unloads. Where keys are asked for, an admin's. The
// first waits until every worker has the adapter, so it is not to be called where others wait.
RouteResult LoadLoraAdapter(const ApiContext& context, const HttpRequest& request);
RouteResult UnloadLoraAdapter(const ApiContext& context, const HttpRequest& request);

// llama-server's: [{"id", "scale", ...}], where `scale` is that of requests that name no adapter.
RouteResult LoraAdapters(const ApiContext& context, const HttpRequest& request);
RouteResult SetLoraAdapters(const ApiContext& context, const HttpRequest& request);

}  // namespace barn
