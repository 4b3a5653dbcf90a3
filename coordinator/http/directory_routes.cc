#include "coordinator/http/directory_routes.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/http/adapter_routes.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/general_routes.h"
#include "coordinator/http/json_reader.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/ollama/ollama_store.h"
#include "coordinator/http/openai_routes.h"
#include "coordinator/http/url.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kModelsPrefix = "/v1/models/";

Json ModelEntry(const ListedModel& listed) {
  const ModelStanding& standing = listed.standing;
  Json entry;
  if (listed.opened != nullptr) {
    entry = OpenAiModelEntry(*listed.opened, standing.engine);
  } else {
    entry = {{"id", listed.id}, {"object", "model"}, {"created", listed.created}, {"owned_by", "barn"}};
  }
  Json& barn = entry["barn"];
  barn["state"] = std::string(PhaseName(standing.phase));
  barn["pinned"] = standing.pinned;
  barn["memory_bytes"] = standing.memory_bytes;
  barn["size_bytes"] = listed.facts.size_bytes;
  barn["expires_at"] = nullptr;
  if (standing.expires != absl::InfiniteFuture()) barn["expires_at"] = absl::ToUnixSeconds(standing.expires);
  if (standing.phase == ModelStanding::Phase::kLoading || standing.phase == ModelStanding::Phase::kWaiting) {
    barn["progress"] = LoadProgressText(standing);
  }
  if (standing.phase == ModelStanding::Phase::kFailed) barn["error"] = standing.engine.reason;
  entry["status"] = {{"value", barn["state"]}};  // Where llama-server's clients look for it.
  return entry;
}

std::vector<ServedAdapter> AdaptersOf(const ListedModel& listed) {
  const bool takes = listed.opened != nullptr && listed.opened->adapters != nullptr;
  return takes ? listed.opened->adapters->List() : std::vector<ServedAdapter>();
}

RouteResult ListModels(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  Json data = Json::array();
  for (const ListedModel& model : context.models.List()) {
    data.push_back(ModelEntry(model));
    for (const ServedAdapter& adapter : AdaptersOf(model)) {
      data.push_back(OpenAiAdapterEntry(*model.opened, adapter));
    }
  }
  return JsonReply({{"object", "list"}, {"data", std::move(data)}});
}

RouteResult OneModel(const DirectoryContext& context, const HttpRequest& request, const ModelLease*) {
  const std::string name = PercentDecode(absl::string_view(request.path).substr(kModelsPrefix.size()));
  const std::optional<ListedModel> model = context.models.Find(name);
  if (!model.has_value()) return ModelNotFound(name);
  for (const ServedAdapter& adapter : AdaptersOf(*model)) {
    if (adapter.name == name) return JsonReply(OpenAiAdapterEntry(*model->opened, adapter));
  }
  return JsonReply(ModelEntry(*model));
}

RouteResult Health(const DirectoryContext&, const HttpRequest&, const ModelLease*) {
  return JsonReply({{"status", "ok"}});
}

RouteResult Ready(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  return ReadyReply(context.models.NotReady());
}

RouteResult Metrics(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  std::vector<std::pair<std::string, EngineState>> states;
  for (ListedModel& model : context.models.List()) states.emplace_back(model.id, std::move(model.standing.engine));
  return MetricsReply(MetricsText(context.metrics, states,
                                  context.gate == nullptr ? std::vector<KeyTotals>() : context.gate->Totals()));
}

RouteResult Usage(const DirectoryContext& context, const HttpRequest& request, const ModelLease*) {
  return UsageReply(context.gate, request);
}

// It is loaded by now, and stays for its keep-alive time.
RouteResult LoadModel(const DirectoryContext&, const HttpRequest&, const ModelLease* lease) {
  return JsonReply({{"success", true}, {"model", lease->model().id}});
}

RouteResult UnloadModel(const DirectoryContext& context, const HttpRequest&, const ModelLease* lease) {
  if (absl::Status status = context.models.Unload(lease->model().id); !status.ok()) return FromStatus(status);
  return JsonReply({{"success", true}, {"model", lease->model().id}});
}

ApiContext OfOne(const DirectoryContext& context, const ModelLease& lease) {
  return {.model = lease.model(), .engine = lease.engine(), .metrics = context.metrics, .gate = context.gate};
}

// A name means one thing in all models.
RouteResult LoadAdapter(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease) {
  const absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (const auto name = body->find("lora_name"); name != body->end() && name->is_string()) {
    const auto& text = name->get_ref<const std::string&>();
    if (context.models.Find(text).has_value()) {
      return BadParam("lora_name", absl::StrCat("'", text, "' is the name of a model or of an adapter already"));
    }
  }
  return LoadLoraAdapter(OfOne(context, *lease), request);
}

RouteResult UnloadAdapter(const DirectoryContext& context, const HttpRequest& request, const ModelLease* lease) {
  return UnloadLoraAdapter(OfOne(context, *lease), request);
}

RouteResult ListAdapters(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  Json list = Json::array();
  for (const ListedModel& model : context.models.List()) {
    for (const ServedAdapter& adapter : AdaptersOf(model)) {
      list.push_back({{"id", adapter.number},
                      {"name", adapter.name},
                      {"model", model.id},
                      {"path", adapter.reference},
                      {"scale", adapter.always},
                      {"ready", adapter.ready}});
    }
  }
  return JsonReply(list);
}

// The body is a list of numbers, which say nothing of a model.
RouteResult RefuseScales(const DirectoryContext&, const HttpRequest&, const ModelLease*) {
  return BadParam("model", "this server offers several models: requests name an adapter in 'model' or 'lora'");
}

constexpr DirectoryRoute kRoutes[] = {
    {"/health", "GET", &Health, Access::kPublic},
    {"/ready", "GET", &Ready, Access::kPublic},
    {"/metrics", "GET", &Metrics, Access::kMetrics},
    {"/v1/usage", "GET", &Usage},
    {"/lora-adapters", "GET", &ListAdapters},
    {"/lora-adapters", "POST", &RefuseScales},
    {"/v1/load_lora_adapter", "POST", &LoadAdapter, Access::kRead, ModelNeed::kLoaded},
    {"/v1/unload_lora_adapter", "POST", &UnloadAdapter, Access::kRead, ModelNeed::kOpened},
    {"/models", "GET", &ListModels},
    {"/models/load", "POST", &LoadModel, Access::kAdmin, ModelNeed::kLoaded},
    {"/models/unload", "POST", &UnloadModel, Access::kAdmin, ModelNeed::kOpened},
    {"/v1/models", "GET", &ListModels},
    {"/v1/models/load", "POST", &LoadModel, Access::kAdmin, ModelNeed::kLoaded},
    {"/v1/models/unload", "POST", &UnloadModel, Access::kAdmin, ModelNeed::kOpened},
    {"/v1/models/", "GET", &OneModel},
    {"/api/copy", "POST", &StoreCopy, Access::kAdmin},
    {"/api/create", "POST", &StoreCreated, Access::kAdmin, ModelNeed::kOpened},
    {"/api/delete", "DELETE", &StoreDelete, Access::kAdmin},
    {"/api/ps", "GET", &StoreRunning},
    {"/api/pull", "POST", &StorePulled, Access::kAdmin, ModelNeed::kOpened},
    {"/api/push", "POST", &StorePush, Access::kAdmin},
    {"/api/tags", "GET", &StoreTags},
    {"/api/version", "GET", &StoreVersion},
};

}  // namespace

std::span<const DirectoryRoute> DirectoryRoutes() { return kRoutes; }

std::string LoadProgressText(const ModelStanding& standing) {
  double done = 0, total = 0;
  for (const WorkerState& worker : standing.engine.workers) {
    done += static_cast<double>(worker.load_bytes_done);
    total += static_cast<double>(worker.load_bytes_total);
  }
  if (standing.phase == ModelStanding::Phase::kLoading) {
    return absl::StrFormat("loading %.0f%%", total > 0 ? 100 * done / total : 0);
  }
  return standing.engine.reason.empty() ? "not loaded" : standing.engine.reason;
}

}  // namespace barn
