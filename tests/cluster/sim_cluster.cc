#include "tests/cluster/sim_cluster.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace barn {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kHeartbeat = absl::Milliseconds(500);

CoreOptions OptionsOf(const SimOptions& sim) {
  CoreOptions options = TestCoreOptions(sim.workers);
  options.step_tokens_max = sim.step_tokens_max;
  options.waiting_max = options.tenant_waiting_max = sim.waiting_max;
  options.running_max = sim.running_max;
  options.sequence_tokens_max = sim.sequence_tokens_max;
  options.step_deadline = sim.step_deadline;
  options.heartbeat = kHeartbeat;
  options.vocabulary = sim.vocabulary;
  options.draft = sim.draft;
  options.encoder = sim.encoder;
  return options;
}

}  // namespace

Planner EvenPlanner(int64_t kv_blocks, int64_t kv_block_tokens) {
  return [=](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
    ShardPlan plan;
    for (int node = 0; node < static_cast<int>(nodes.size()); ++node) {
      plan.stages.push_back(
          {.first_layer = 2 * node, .last_layer = 2 * node + 2, .ranks = {{.node = node, .weights_bytes = 1000}}});
    }
    plan.kv_blocks = kv_blocks;
    plan.kv_block_tokens = kv_block_tokens;
    plan.context_tokens = kv_blocks * kv_block_tokens;
    return plan;
  };
}

Planner RanksPlanner(int64_t kv_blocks, int64_t kv_block_tokens) {
  return
      [even = EvenPlanner(kv_blocks, kv_block_tokens)](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
        ShardPlan plan = *even(nodes);
        PlanStage all{.first_layer = 0, .last_layer = plan.stages.back().last_layer, .ranks = {}};
        for (const PlanStage& stage : plan.stages) all.ranks.push_back(stage.ranks.front());
        plan.stages = {all};
        return plan;
      };
}

CoreOptions TestCoreOptions(int workers) {
  CoreOptions options;
  options.version = "test";
  options.workers_expected = workers;
  options.parts = {"model.gguf"};
  options.exchange_token = "secret";
  options.end_ids = {7};
  options.vocabulary = FakeModel().vocabulary;
  options.embedding_floats = FakeModel::kWidth;
  options.has_scores = true;
  options.sequence_tokens_max = 1000;
  return options;
}

SimCluster::SimCluster(const SimOptions& options)
    : options_(options),
      model_{.vocabulary = options.vocabulary, .encoder = options.encoder},
      random_(options.seed),
      core_(OptionsOf(options),
            (options.ranks ? RanksPlanner : EvenPlanner)(options.kv_blocks, options.kv_block_tokens)),
      workers_(options.workers) {
  Tick();
}

bool SimCluster::Chance(double probability) {
  return !calm_ && probability > 0 && std::uniform_real_distribution<>(0, 1)(random_) < probability;
}

absl::Duration SimCluster::Delay(absl::Duration max) {
  return absl::Microseconds(std::uniform_int_distribution<int64_t>(0, absl::ToInt64Microseconds(max))(random_));
}

void SimCluster::Note(const std::string& text) { errors_.push_back(absl::StrCat(absl::FormatTime(now_), ": ", text)); }

void SimCluster::Tick() {
  StepCore({});
  At(now_ + kTick, [this] { Tick(); });
}

// --- the coordinator's side -----------------------------------------------------------------------------------------

void SimCluster::StepCore(std::vector<Event> events) {
  const Actions actions = core_.Step(now_, events);
  if (absl::Status status = core_.CheckInvariants(); !status.ok()) Note(std::string(status.message()));
  Perform(actions);
}

void SimCluster::Perform(const Actions& actions) {
  const auto mix = [this](const std::string& text) {
    fingerprint_ = (fingerprint_ ^ std::hash<std::string>()(text)) * 0x100000001B3ULL;
  };
  for (const SendToWorker& send : actions.sends) {
    mix(absl::StrCat(send.worker_id, send.message->SerializeAsString()));
    const int worker = WorkerOf(send.worker_id);
    if (worker < 0) continue;
    if (send.message->has_step()) {
      steps_in_flight_max_ = std::max(steps_in_flight_max_, core_.steps_in_flight());
    }
    if (Chance(options_.stream_break)) {
      BreakStream(worker);
      continue;
    }
    Worker& to = workers_[worker];
    to.to_worker = std::max(to.to_worker, now_ + Delay(options_.delay_max));
    At(to.to_worker, [this, worker, id = to.id, message = send.message] {
      if (workers_[worker].id == id) Hear(worker, *message);
    });
  }
  for (const DisconnectWorker& disconnect : actions.disconnects) {
    mix(absl::StrCat("disconnect", disconnect.worker_id, disconnect.reason.ToString()));
    if (const int worker = WorkerOf(disconnect.worker_id); worker >= 0) BreakStream(worker);
  }
  for (const Verdict& verdict : actions.verdicts) {
    mix(absl::StrCat("verdict", verdict.request_id, verdict.status.ToString()));
    replies_[verdict.request_id].answered = true;
    replies_[verdict.request_id].verdict = verdict.status;
  }
  for (const RequestUpdate& update : actions.updates) {
    mix(absl::StrCat("update", update.request_id, static_cast<int>(update.finish), update.status.ToString()));
    SimReply& reply = replies_[update.request_id];
    if (!reply.answered || !reply.verdict.ok()) Note("an update of a request that was not accepted");
    if (reply.ends > 0) Note(absl::StrFormat("request %d: an update after its end", update.request_id));
    for (const GeneratedToken& token : update.tokens) {
      mix(absl::StrCat(token.id));
      reply.tokens.push_back(token.id);
      reply.times.push_back(now_);
    }
    if (!update.embedding.empty()) reply.embedding = update.embedding;
    reply.scores.insert(reply.scores.end(), update.prompt_scores.begin(), update.prompt_scores.end());
    reply.prompt_tokens_done = std::max(reply.prompt_tokens_done, update.prompt_tokens_done);
    reply.cached_tokens = std::max(reply.cached_tokens, update.cached_tokens);
    if (update.finish == FinishReason::kNone) continue;
    ++reply.ends;
    reply.finish = update.finish;
    reply.status = update.status;
    if (on_end_) At(now_, [this, id = update.request_id] { on_end_(id); });
  }
}

int64_t SimCluster::Submit(GenerateRequest request) {
  const int64_t id = ++last_request_id_;
  replies_[id].request = request;
  StepCore({RequestSubmitted{.request_id = id, .request = std::move(request), .fallback_seed = 1}});
  return id;
}

void SimCluster::Cancel(int64_t request_id) { StepCore({RequestCancelled{request_id}}); }

// --- workers and the transport --------------------------------------------------------------------------------------

void SimCluster::StartAll() {
  for (int worker = 0; worker < options_.workers; ++worker) Restart(worker);
}

int SimCluster::WorkerOf(int64_t id) const {
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].alive && workers_[i].id == id) return static_cast<int>(i);
  }
  return -1;
}

void SimCluster::Restart(int worker) {
  if (workers_[worker].alive) return;
  const int64_t life = workers_[worker].life + 1;
  workers_[worker] = Worker();
  workers_[worker].alive = true;
  workers_[worker].life = life;
  Connect(worker);
}

void SimCluster::Kill(int worker, bool silent) {
  Worker& dead = workers_[worker];
  if (!dead.alive) return;
  if (!silent && dead.id != 0) {
    At(std::max(dead.from_worker, now_ + Delay(options_.delay_max)), [this, id = dead.id] {
      StepCore({WorkerLost{id, "the connection ended"}});
    });
  }
  dead.alive = false;
  dead.id = 0;
  ++dead.life;
}

void SimCluster::Connect(int worker) {
  Worker& from = workers_[worker];
  from.id = ++last_worker_id_;
  proto::Hello hello;
  hello.set_version("test");
  hello.set_name(absl::StrCat("w", worker));
  hello.set_memory_bytes(1 << 20);
  hello.set_threads(1);
  hello.set_exchange_address(absl::StrCat("host:", worker));
  hello.set_rank_address(absl::StrCat("rank:", worker));
  from.from_worker = std::max(from.from_worker, now_ + Delay(options_.delay_max));
  At(from.from_worker, [this, id = from.id, hello] { StepCore({WorkerJoined{id, hello}}); });
  At(now_ + kHeartbeat, [this, worker, life = from.life, id = from.id] { Beat(worker, life, id); });
}

// Both ends notice; the worker dials again. One whose compute thread hangs is restarted by whoever runs it.
void SimCluster::BreakStream(int worker) {
  Worker& broken = workers_[worker];
  const int64_t id = std::exchange(broken.id, 0);
  At(std::max(broken.from_worker, now_ + Delay(options_.delay_max)), [this, id] {
    StepCore({WorkerLost{id, "the connection ended"}});
  });
  if (broken.stalled) Kill(worker, true);
  At(now_ + absl::Milliseconds(200) + Delay(absl::Seconds(1)), [this, worker, life = broken.life] {
    Worker& again = workers_[worker];
    if (again.life != life || again.id != 0) return;
    if (again.alive) {
      Connect(worker);
    } else {
      Restart(worker);
    }
  });
}

void SimCluster::Say(int worker, proto::WorkerMessage message) {
  Worker& from = workers_[worker];
  if (from.id == 0) return;
  if (Chance(options_.stream_break)) {
    BreakStream(worker);
    return;
  }
  from.from_worker = std::max(from.from_worker, now_ + Delay(options_.delay_max));
  At(from.from_worker, [this, id = from.id, message = std::move(message)] { StepCore({WorkerSaid{id, message}}); });
}

void SimCluster::Beat(int worker, int64_t life, int64_t id) {
  Worker& from = workers_[worker];
  if (from.life != life || from.id != id) return;
  proto::WorkerMessage message;
  message.mutable_heartbeat()->set_epoch(from.stage ? from.stage->load().epoch() : 0);
  message.mutable_heartbeat()->set_rank_address(absl::StrCat("rank:", worker));
  Say(worker, std::move(message));
  At(now_ + kHeartbeat, [this, worker, life, id] { Beat(worker, life, id); });
}

void SimCluster::Hear(int worker, const proto::CoordinatorMessage& message) {
  Worker& to = workers_[worker];
  if (message.has_load()) {
    to.stage = std::make_unique<FakeStage>(model_, message.load());
    to.steps.clear();
    to.busy = false;
    At(now_ + Delay(absl::Milliseconds(300)), [this, worker, life = to.life, epoch = message.load().epoch()] {
      const Worker& loaded = workers_[worker];
      if (loaded.life != life || loaded.stage == nullptr || loaded.stage->load().epoch() != epoch) return;
      proto::WorkerMessage progress, result;
      progress.mutable_load_progress()->set_epoch(epoch);
      progress.mutable_load_progress()->set_bytes_done(500);
      progress.mutable_load_progress()->set_bytes_total(1000);
      result.mutable_load_result()->set_epoch(epoch);
      Say(worker, std::move(progress));
      Say(worker, std::move(result));
    });
  } else if (message.has_step()) {
    to.steps.push_back(message.step());
    TryCompute(worker);
  } else if (message.has_unload() || message.has_end_epoch()) {
    to.stage.reset();
    to.steps.clear();
    to.busy = false;
  }
}

void SimCluster::TryCompute(int worker) {
  Worker& at = workers_[worker];
  if (at.stage == nullptr || at.busy || at.steps.empty()) return;
  const int64_t epoch = at.stage->load().epoch();
  std::erase_if(at.activations, [&](const Activation& activation) { return activation.epoch < epoch; });
  if (at.steps.front().epoch() != epoch) return Note("a step of an epoch that is not loaded");
  if (at.stage->load().stage() > 0) {
    if (at.activations.empty() || at.activations.front().epoch != epoch ||
        at.activations.front().step_id != at.steps.front().step_id()) {
      return;
    }
  }
  at.busy = true;
  if (Chance(options_.step_stall)) {
    at.stalled = true;
    return;
  }
  const proto::StepRequest& next = at.steps.front();
  const auto rows = std::accumulate(next.sequences().begin(), next.sequences().end(), int64_t{0},
                                    [](int64_t sum, const auto& sequence) { return sum + sequence.rows(); });
  const absl::Duration fixed = options_.compute_step + rows * options_.compute_row;
  At(now_ + fixed + Delay(options_.compute_max), [this, worker, life = at.life, epoch, step = at.steps.front()] {
    const Worker& done = workers_[worker];
    if (done.life != life || done.stage == nullptr || done.stage->load().epoch() != epoch) return;
    FinishStep(worker, step);
  });
}

void SimCluster::FinishStep(int worker, const proto::StepRequest& step) {
  Worker& at = workers_[worker];
  std::vector<uint64_t> input;
  if (at.stage->load().stage() > 0) {
    input = std::move(at.activations.front().rows);
    at.activations.pop_front();
  }
  at.steps.pop_front();
  at.busy = false;
  proto::WorkerMessage message;
  if (Chance(options_.step_failure)) {
    message.mutable_step_failure()->set_epoch(step.epoch());
    message.mutable_step_failure()->set_step_id(step.step_id());
    message.mutable_step_failure()->set_code(static_cast<int>(absl::StatusCode::kUnavailable));
    message.mutable_step_failure()->set_error("simulated");
    at.busy = true;  // Until the next load: later steps of the epoch build on this one.
    return Say(worker, std::move(message));
  }
  FakeStage::Output output = at.stage->Run(step, input);
  for (const std::string& error : at.stage->errors()) Note(error);
  if (at.stage->load().stage() + 1 < at.stage->load().stages()) {
    SendActivation(worker, {step.epoch(), step.step_id(), std::move(output.rows)});
  } else if (Chance(options_.garbage)) {
    Spoil(output.result);
  }
  *message.mutable_step_result() = std::move(output.result);
  Say(worker, std::move(message));
  TryCompute(worker);
}

void SimCluster::SendActivation(int worker, Activation activation) {
  Worker& from = workers_[worker];
  const std::string& address = from.stage->load().next_exchange_address();
  const int next = std::stoi(address.substr(address.find(':') + 1));
  from.to_next = std::max(from.to_next, now_ + Delay(options_.delay_max));
  At(from.to_next, [this, next, life = workers_[next].life, activation = std::move(activation)] {
    if (workers_[next].life != life) return;
    workers_[next].activations.push_back(activation);
    TryCompute(next);
  });
}

void SimCluster::Spoil(proto::StepResult& result) {
  const auto kind = std::uniform_int_distribution<int>(0, 4)(random_);
  if (kind == 0 || result.sequences_size() == 0) {
    result.set_step_id(result.step_id() + 1);
  } else if (kind == 1) {
    result.mutable_sequences(0)->set_sequence_id(-5);
  } else if (kind == 2) {
    result.mutable_sequences(0)->add_candidate_ids(1);
  } else if (kind == 3) {
    result.mutable_sequences(0)->set_full_logits("abc");
  } else {
    *result.add_sequences() = result.sequences(0);
  }
}

// --- running --------------------------------------------------------------------------------------------------------

bool SimCluster::Idle() const {
  return std::all_of(replies_.begin(), replies_.end(), [](const auto& reply) {
    return reply.second.answered && (!reply.second.verdict.ok() || reply.second.ends > 0);
  });
}

bool SimCluster::RunUntilIdle(absl::Duration limit) {
  return RunUntil([this] { return Idle(); }, limit);
}

bool SimCluster::RunUntilReady(absl::Duration limit) {
  return RunUntil([this] { return core_.ready(); }, limit);
}

}  // namespace barn
