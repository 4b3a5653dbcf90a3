#include "coordinator/cluster/state_json.h"

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

}  // namespace

std::string StateJson(const EngineState& state, const std::string& model) {
  nlohmann::json workers = nlohmann::json::array();
  for (const WorkerState& worker : state.workers) workers.push_back(WorkerJson(worker));
  const nlohmann::json json = {{"model", model},
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
  // Names come from workers and may be any bytes.
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace barn
