#include "coordinator/cluster/state_json.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace barn {
namespace {

nlohmann::json ShareJson(const BusyShare& share) {
  return {{"seconds", share.seconds}, {"busy", share.busy}, {"wait", share.wait}, {"idle", share.idle()}};
}

nlohmann::json WorkerJson(const WorkerState& worker) {
  return {{"id", worker.id},
          {"name", worker.name},
          {"device", worker.device},
          {"memory_bytes", worker.memory_bytes},
          {"stage", worker.stage},
          {"first_layer", worker.first_layer},
          {"last_layer", worker.last_layer},
          {"load_bytes_done", worker.load_bytes_done},
          {"load_bytes_total", worker.load_bytes_total},
          {"load_bytes_per_second", worker.load_bytes_per_second},
          {"loaded", worker.loaded},
          {"busy_us", worker.busy_us},
          {"wait_us", worker.wait_us},
          {"since_ready", ShareJson(worker.since_ready)},
          {"recent", ShareJson(worker.recent)}};
}

nlohmann::json ModelJson(const EngineState& state, const std::string& model) {
  nlohmann::json workers = nlohmann::json::array();
  for (const WorkerState& worker : state.workers) workers.push_back(WorkerJson(worker));
  return {{"model", model},
          {"ready", state.ready},
          {"failed", state.failed},
          {"reason", state.reason},
          {"workers", workers},
          {"context_tokens_max", state.context_tokens_max},
          {"kv_blocks_total", state.kv_blocks_total},
          {"kv_blocks_free", state.kv_blocks_free},
          {"running", state.running},
          {"waiting", state.waiting},
          {"requests_total", state.requests_total},
          {"requests_failed_total", state.requests_failed_total},
          {"prompt_tokens_total", state.prompt_tokens_total},
          {"generated_tokens_total", state.generated_tokens_total},
          {"steps_total", state.steps_total},
          {"expert_bytes_read_total", state.expert_bytes_read_total}};
}

// Names come from workers and may be any bytes.
std::string Text(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string StateJson(const EngineState& state, const std::string& model) { return Text(ModelJson(state, model)); }

std::string FleetJson(const std::vector<std::pair<std::string, ModelStanding>>& models, absl::Time now) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, standing] : models) {
    nlohmann::json entry = ModelJson(standing.engine, name);
    entry["state"] = std::string(PhaseName(standing.phase));
    entry["pinned"] = standing.pinned;
    entry["memory_bytes"] = standing.memory_bytes;
    entry["users"] = standing.users;
    // Null: in use, not loaded, or for ever.
    entry["expires_in_s"] = nullptr;
    if (standing.expires != absl::InfiniteFuture()) {
      entry["expires_in_s"] = std::max<int64_t>(0, absl::ToInt64Seconds(standing.expires - now));
    }
    list.push_back(std::move(entry));
  }
  return Text({{"models", std::move(list)}});
}

}  // namespace barn
