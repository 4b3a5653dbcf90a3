#include "tests/cluster/sim_fleet.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace barn {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kHeartbeat = absl::Milliseconds(500);
constexpr absl::Duration kDelayMax = absl::Milliseconds(20);
constexpr int64_t kKvBlocks = 64;
constexpr int64_t kKvBlockTokens = 4;

// Even shares of the layers on all nodes.
Planner PlannerOf(const SimModel& model) {
  return [model](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
    ShardPlan plan;
    plan.kv_blocks = kKvBlocks;
    plan.kv_block_tokens = kKvBlockTokens;
    const auto count = static_cast<int64_t>(nodes.size());
    for (int64_t node = 0; node < count; ++node) {
      const int64_t first = SimModel::kLayers * node / count, last = SimModel::kLayers * (node + 1) / count;
      const PlanRank rank{.node = static_cast<int>(node),
                          .weights_bytes = (last - first) * model.layer_bytes,
                          .kv_bytes = SimModel::kv_bytes};
      if (rank.total_bytes() > nodes[node].memory_bytes) {
        return absl::ResourceExhaustedError(absl::StrFormat("needs %d bytes on '%s', which has %d", rank.total_bytes(),
                                                            nodes[node].name, nodes[node].memory_bytes));
      }
      plan.stages.push_back({.first_layer = first, .last_layer = last, .ranks = {rank}});
    }
    return plan;
  };
}

std::shared_ptr<const FleetModel> ModelOf(const SimModel& sim, int64_t number, int workers) {
  auto model = std::make_shared<FleetModel>();
  model->core.version = "test";
  model->core.workers_expected = workers;
  model->core.parts = {absl::StrCat("model-", number, ".gguf")};
  model->core.exchange_token = "secret";
  model->core.vocabulary = sim.vocabulary;
  model->core.sequence_tokens_max = 1000;
  model->core.step_tokens_max = 32;
  model->planner = PlannerOf(sim);
  model->pinned = sim.pinned;
  model->keep_alive = sim.keep_alive;
  return model;
}

}  // namespace

SimFleet::SimFleet(SimFleetOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      fleet_({.version = "test", .heartbeat = kHeartbeat, .lease = absl::Seconds(3)}),
      workers_(options_.workers) {
  for (size_t i = 0; i < options_.models.size(); ++i) {
    const auto number = static_cast<int64_t>(i + 1);
    StepFleet({ModelAdded{.model = number, .what = ModelOf(options_.models[i], number, options_.workers)}});
  }
  Tick();
}

absl::Duration SimFleet::Delay(absl::Duration max) {
  return absl::Microseconds(std::uniform_int_distribution<int64_t>(0, absl::ToInt64Microseconds(max))(random_));
}

void SimFleet::Note(const std::string& text) { errors_.push_back(absl::StrCat(absl::FormatTime(now_), ": ", text)); }

void SimFleet::Tick() {
  StepFleet({});
  At(now_ + kTick, [this] { Tick(); });
}

std::vector<int32_t> SimFleet::Answer(const SimUse& use) const {
  return FakeModel{.vocabulary = options_.models[use.model - 1].vocabulary}.Answer(use.prompt, use.max_tokens, {});
}

// --- the coordinator's side -----------------------------------------------------------------------------------------

void SimFleet::StepFleet(std::vector<FleetEvent> events) {
  const FleetActions actions = fleet_.Step(now_, events);
  if (absl::Status status = fleet_.CheckInvariants(); !status.ok()) Note(std::string(status.message()));
  Perform(actions);
}

void SimFleet::Perform(const FleetActions& all) {
  for (const SendToWorker& send : all.actions.sends) {
    const int worker = WorkerOf(send.worker_id);
    if (worker < 0) continue;
    Worker& to = workers_[worker];
    to.to_worker = std::max(to.to_worker, now_ + Delay(kDelayMax));
    At(to.to_worker, [this, worker, id = to.id, message = send.message] {
      if (workers_[worker].id == id) Hear(worker, *message);
    });
  }
  for (const DisconnectWorker& disconnect : all.actions.disconnects) {
    if (!disconnect.reason.ok()) Note(absl::StrCat("disconnects: ", disconnect.reason.ToString()));
  }
  for (const Verdict& verdict : all.actions.verdicts) {
    if (!verdict.status.ok()) EndUse(verdict.request_id, verdict.status);
  }
  for (const RequestUpdate& update : all.actions.updates) {
    SimUseResult& result = uses_[update.request_id];
    for (const GeneratedToken& token : update.tokens) result.tokens.push_back(token.id);
    if (update.finish != FinishReason::kNone) EndUse(update.request_id, update.status);
  }
  for (const HoldVerdict& verdict : all.holds) OnHold(verdict);
}

int64_t SimFleet::Use(const SimUse& use) {
  const auto number = static_cast<int64_t>(uses_.size() + 1);
  uses_[number] = {.use = use, .verdict = {}, .held = now_, .granted = {}, .request = {}, .tokens = {}};
  StepFleet({ModelHeld{.hold = number, .model = use.model, .keep_alive = use.keep_alive, .wait_max = use.wait_max}});
  return number;
}

void SimFleet::OnHold(const HoldVerdict& verdict) {
  SimUseResult& result = uses_[verdict.hold];
  if (result.ended < now_) return;  // Given up.
  if (++result.verdicts > 1) Note(absl::StrFormat("hold %d: a second verdict", verdict.hold));
  result.verdict = verdict.status;
  result.granted = now_;
  if (!verdict.status.ok()) {
    result.ended = now_;
    return;
  }
  if (!fleet_.Find(result.use.model)->ready()) Note(absl::StrFormat("hold %d: not loaded", verdict.hold));
  At(now_ + Delay(kDelayMax), [this, number = verdict.hold] {
    if (uses_[number].ended <= now_) return;
    GenerateRequest request;
    request.prompt = uses_[number].use.prompt;
    request.max_tokens = uses_[number].use.max_tokens;
    request.sampling.temperature = 0;
    StepFleet({ModelRequest{
        .model = uses_[number].use.model,
        .request = RequestSubmitted{.request_id = number, .request = std::move(request), .fallback_seed = 1}}});
  });
}

void SimFleet::EndUse(int64_t use, absl::Status status) {
  uses_[use].request = std::move(status);
  uses_[use].ended = now_;
  At(now_ + Delay(kDelayMax), [this, use] { StepFleet({ModelReleased{use}}); });
}

void SimFleet::GiveUp(int64_t use) {
  if (uses_[use].ended <= now_) return;
  uses_[use].ended = now_;
  StepFleet({ModelRequest{.model = uses_[use].use.model, .request = RequestCancelled{use}}, ModelReleased{use}});
}

// --- workers and the transport --------------------------------------------------------------------------------------

void SimFleet::StartAll() {
  for (int worker = 0; worker < options_.workers; ++worker) Restart(worker);
}

int SimFleet::WorkerOf(int64_t id) const {
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].alive && workers_[i].id == id) return static_cast<int>(i);
  }
  return -1;
}

void SimFleet::Restart(int worker) {
  if (workers_[worker].alive) return;
  workers_[worker] = Worker();
  Worker& from = workers_[worker];
  from.alive = true;
  from.id = ++last_worker_id_;
  proto::Hello hello;
  hello.set_version("test");
  hello.set_name(absl::StrCat("w", worker));
  hello.set_memory_bytes(options_.memory_bytes);
  hello.set_threads(1);
  hello.set_exchange_address(absl::StrCat("host:", worker));
  from.from_worker = now_ + Delay(kDelayMax);
  At(from.from_worker, [this, id = from.id, hello] { StepFleet({WorkerJoined{id, hello}}); });
  At(now_ + kHeartbeat, [this, worker, id = from.id] { Beat(worker, id); });
}

void SimFleet::Kill(int worker) {
  Worker& dead = workers_[worker];
  if (!dead.alive) return;
  At(std::max(dead.from_worker, now_ + Delay(kDelayMax)), [this, id = dead.id] {
    StepFleet({WorkerLost{id, "the connection ended"}});
  });
  dead.alive = false;
  dead.id = 0;
}

void SimFleet::Say(int worker, proto::WorkerMessage message) {
  Worker& from = workers_[worker];
  from.from_worker = std::max(from.from_worker, now_ + Delay(kDelayMax));
  At(from.from_worker, [this, id = from.id, message = std::move(message)] { StepFleet({WorkerSaid{id, message}}); });
}

void SimFleet::Beat(int worker, int64_t id) {
  if (workers_[worker].id != id) return;
  proto::WorkerMessage message;
  message.mutable_heartbeat();
  Say(worker, std::move(message));
  At(now_ + kHeartbeat, [this, worker, id] { Beat(worker, id); });
}

SimFleet::Slice* SimFleet::FindEpoch(Worker& worker, int64_t epoch) {
  for (auto& [deployment, slice] : worker.slices) {
    if (slice.stage->load().epoch() == epoch) return &slice;
  }
  return nullptr;
}

void SimFleet::EndEpoch(Worker& worker, int64_t epoch) {
  if (Slice* slice = FindEpoch(worker, epoch)) slice->runs = false;
  std::erase_if(worker.steps, [&](const proto::StepRequest& step) { return step.epoch() == epoch; });
  std::erase_if(worker.activations, [&](const Activation& activation) { return activation.epoch == epoch; });
  if (worker.busy_epoch == epoch) worker.busy_epoch = 0;
}

void SimFleet::Hear(int worker, const proto::CoordinatorMessage& message) {
  Worker& to = workers_[worker];
  if (message.has_load()) {
    Load(worker, message.load());
  } else if (message.has_step()) {
    to.steps.push_back(message.step());
  } else if (message.has_end_epoch()) {
    EndEpoch(to, message.end_epoch().epoch());
  } else if (message.has_unload()) {
    const int64_t epoch = message.unload().epoch();
    EndEpoch(to, epoch);
    std::erase_if(to.slices, [&](const auto& slice) { return slice.second.stage->load().epoch() == epoch; });
  }
  TryCompute(worker);
}

void SimFleet::Load(int worker, const proto::LoadRequest& load) {
  Worker& to = workers_[worker];
  const SimModel& model = options_.models[load.deployment() - 1];
  if (load.parts(0) != absl::StrCat("model-", load.deployment(), ".gguf")) Note("a load of another model's file");
  if (const auto old = to.slices.find(load.deployment()); old != to.slices.end()) {
    EndEpoch(to, old->second.stage->load().epoch());
    to.slices.erase(old);
  }
  const int64_t bytes = (load.last_layer() - load.first_layer()) * model.layer_bytes + SimModel::kv_bytes;
  const auto held = [&to] {
    return std::accumulate(to.slices.begin(), to.slices.end(), int64_t{0},
                           [](int64_t sum, const auto& slice) { return sum + slice.second.bytes; });
  };
  if (held() + bytes > options_.memory_bytes) {
    std::erase_if(to.slices, [](const auto& slice) { return !slice.second.runs; });
  }
  if (held() + bytes > options_.memory_bytes) {
    Note(absl::StrFormat("worker %d holds %d bytes and shall load %d", worker, held(), bytes));
  }
  to.slices[load.deployment()] = {.stage = std::make_unique<FakeStage>(FakeModel{.vocabulary = model.vocabulary}, load),
                                  .bytes = bytes,
                                  .runs = true};
  At(now_ + Delay(absl::Milliseconds(300)), [this, worker, id = to.id, epoch = load.epoch(), code = model.load_error] {
    Worker& loaded = workers_[worker];
    if (loaded.id != id || FindEpoch(loaded, epoch) == nullptr) return;
    proto::WorkerMessage result;
    result.mutable_load_result()->set_epoch(epoch);
    result.mutable_load_result()->set_code(static_cast<int>(code));
    if (code != absl::StatusCode::kOk) result.mutable_load_result()->set_error("simulated");
    Say(worker, std::move(result));
  });
}

// Steps of all models in the order of their coming; the first one waits for its activations, and all others for it.
void SimFleet::TryCompute(int worker) {
  Worker& at = workers_[worker];
  if (at.busy_epoch != 0 || at.steps.empty()) return;
  const proto::StepRequest& step = at.steps.front();
  const Slice* slice = FindEpoch(at, step.epoch());
  if (slice == nullptr || !slice->runs) return Note("a step of an epoch that is not loaded");
  if (slice->stage->load().stage() > 0) {
    const bool there = std::any_of(at.activations.begin(), at.activations.end(), [&](const Activation& activation) {
      return activation.epoch == step.epoch() && activation.step_id == step.step_id();
    });
    if (!there) return;
  }
  at.busy_epoch = step.epoch();
  At(now_ + Delay(options_.compute_max), [this, worker, id = at.id, step = step] {
    if (workers_[worker].id != id) return;
    if (FindEpoch(workers_[worker], step.epoch()) == nullptr || workers_[worker].busy_epoch != step.epoch()) return;
    FinishStep(worker, step);
  });
}

void SimFleet::FinishStep(int worker, const proto::StepRequest& step) {
  Worker& at = workers_[worker];
  FakeStage& stage = *FindEpoch(at, step.epoch())->stage;
  std::vector<uint64_t> input;
  for (auto one = at.activations.begin(); one != at.activations.end(); ++one) {
    if (one->epoch != step.epoch() || one->step_id != step.step_id()) continue;
    input = std::move(one->rows);
    at.activations.erase(one);
    break;
  }
  at.steps.pop_front();
  at.busy_epoch = 0;
  FakeStage::Output output = stage.Run(step, input);
  for (const std::string& error : stage.errors()) Note(error);
  if (stage.load().stage() + 1 < stage.load().stages()) {
    const std::string& address = stage.load().next_exchange_address();
    const int next = std::stoi(address.substr(address.find(':') + 1));
    at.to_next = std::max(at.to_next, now_ + Delay(kDelayMax));
    At(at.to_next, [this, next, id = workers_[next].id,
                    activation = Activation{step.epoch(), step.step_id(), std::move(output.rows)}] {
      if (workers_[next].id != id) return;
      workers_[next].activations.push_back(activation);
      TryCompute(next);
    });
  }
  proto::WorkerMessage message;
  *message.mutable_step_result() = std::move(output.result);
  Say(worker, std::move(message));
  TryCompute(worker);
}

// --- running --------------------------------------------------------------------------------------------------------

bool SimFleet::RunUntilIdle(absl::Duration limit) {
  const auto over = [this](const auto& use) { return use.second.ended <= now_; };
  return RunUntil([&] { return std::all_of(uses_.begin(), uses_.end(), over); }, limit);
}

}  // namespace barn
