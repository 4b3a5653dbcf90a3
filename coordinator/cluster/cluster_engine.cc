#include "coordinator/cluster/cluster_engine.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "coordinator/cluster/listen_address.h"
#include "coordinator/cluster/state_json.h"
#include "proto/base/keepalive.h"
#include "proto/base/status.h"
#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "sharding/plan_text.h"

namespace barn {
namespace {

// Above the largest result that the batcher asks for (64 MiB by its own estimate).
constexpr int kMessageBytesMax = 256 << 20;
constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kProgressInterval = absl::Milliseconds(20);
constexpr absl::Duration kGoodbye = absl::Seconds(2);  // For the last messages to the workers.

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return absl::UnavailableError("the random number generator is not ready");
  }
  return bytes;
}

uint64_t RandomSeed() {
  uint64_t seed = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&seed), sizeof(seed));
  return seed;
}

// Workers on this machine may run in another directory.
std::string PartReference(const Store& part) {
  const std::string name = part.Name();
  return absl::StrContains(name, "://") ? name : std::filesystem::absolute(name).string();
}

bool IsRemote(const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [](const std::string& part) { return absl::StrContains(part, "://"); });
}

// An encoder reads a text in one step, whatever its length.
int64_t StepTokens(const ClusterOptions& options, const ModelConfig& config) {
  constexpr int64_t kWholeTokensMax = 8192;
  if (!config.encoder) return options.step_tokens_max;
  return std::max(options.step_tokens_max, std::min(config.context_tokens, kWholeTokensMax));
}

}  // namespace

// A Submit that waits for its verdict.
struct ClusterEngine::Submission {
  OnUpdate on_update;
  absl::Status verdict;
  absl::Notification done;
};

absl::StatusOr<int64_t> ModelEngine::Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) {
  return cluster_.SubmitTo(model_, std::move(request), std::move(on_update));
}

void ModelEngine::Cancel(int64_t request_id) { cluster_.CancelOf(model_, request_id); }

EngineState ModelEngine::State() const { return cluster_.StateOf(model_); }

int64_t ModelEngine::LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) {
  return cluster_.LoadAdapterOf(model_, std::move(parts), std::move(on_change));
}

void ModelEngine::UnloadAdapter(int64_t id) { cluster_.UnloadAdapterOf(model_, id); }

absl::StatusOr<std::unique_ptr<ClusterEngine>> ClusterEngine::Make(const ClusterOptions& options) {
  BARN_RETURN_IF_ERROR(CheckListenAddress(options.listen, !options.token.empty()));
  if (options.workers_expected < 1 || options.step_tokens_max < 1) {
    return absl::InvalidArgumentError(absl::StrFormat("%d workers, steps of %d tokens: at least 1 of each is needed",
                                                      options.workers_expected, options.step_tokens_max));
  }
  BARN_ASSIGN_OR_RETURN(const std::string exchange_token, RandomBytes(16));
  return std::unique_ptr<ClusterEngine>(new ClusterEngine(options, absl::BytesToHexString(exchange_token)));
}

absl::StatusOr<std::unique_ptr<ClusterEngine>> ClusterEngine::Create(const ClusterOptions& options,
                                                                     const GgufModel& model,
                                                                     const std::set<int32_t>& end_ids) {
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ClusterEngine> engine, Make(options));
  const ClusterModel only{.name = options.model_reference, .context_tokens = options.context_tokens, .pinned = true};
  BARN_ASSIGN_OR_RETURN(engine->primary_, engine->AddModel(only, model, end_ids));
  {
    absl::MutexLock lock(&engine->fleet_mutex_);  // It is there from the start.
    engine->fleet_.Step(engine->clock_.Now(), engine->queue_.Take(absl::ZeroDuration()));
  }
  BARN_RETURN_IF_ERROR(engine->Listen());
  return engine;
}

absl::StatusOr<std::unique_ptr<ClusterEngine>> ClusterEngine::Create(const ClusterOptions& options) {
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ClusterEngine> engine, Make(options));
  BARN_RETURN_IF_ERROR(engine->Listen());
  return engine;
}

ClusterEngine::ClusterEngine(const ClusterOptions& options, std::string exchange_token)
    : options_(options),
      exchange_token_(std::move(exchange_token)),
      service_({.token = options.token,
                .hello_wait_max = options.lease,
                .on_event = [this](FleetEvent event) { queue_.Push(std::move(event)); },
                .status_json = [this] { return StatusJson(); }},
               clock_),
      fleet_({.version = options.version, .heartbeat = options.heartbeat, .lease = options.lease}) {}

absl::StatusOr<int64_t> ClusterEngine::AddModel(const ClusterModel& what, const GgufModel& model,
                                                const std::set<int32_t>& end_ids) {
  BARN_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(model));
  BARN_ASSIGN_OR_RETURN(Catalogue catalogue, BuildCatalogue(model));
  auto added = std::make_shared<FleetModel>();
  CoreOptions& core = added->core;
  core.version = options_.version;
  core.workers_expected = options_.workers_expected;
  for (const auto& part : model.parts()) core.parts.push_back(PartReference(*part));
  core.exchange_token = exchange_token_;
  core.end_ids = end_ids;
  core.vocabulary = config.vocabulary;
  core.embedding_floats = config.width;
  core.encoder = config.encoder;
  core.has_scores = config.score_labels == 1;
  core.step_tokens_max = StepTokens(options_, config);
  core.sequence_tokens_max =
      config.encoder ? std::min(config.context_tokens, core.step_tokens_max) : config.context_tokens;
  core.deterministic = options_.deterministic;
  core.draft = options_.draft;
  core.waiting_max = options_.waiting_max;
  core.tenant_waiting_max = options_.tenant_waiting_max;
  core.running_max = options_.running_max;
  core.stall_max = options_.stall_max;
  core.recovery_max = options_.recovery_max;
  core.heartbeat = options_.heartbeat;
  core.lease = options_.lease;
  core.step_deadline = options_.step_deadline;
  const PlanOptions plan{.context_tokens = what.context_tokens,
                         .kv = options_.kv,
                         .step_tokens_max = core.step_tokens_max,
                         .objective = options_.objective,
                         .remote = IsRemote(core.parts)};
  added->planner = [catalogue = std::move(catalogue), config, plan,
                    said = std::string()](std::span<const PlanNode> nodes) mutable {
    auto planned = PlanShards(catalogue, config, nodes, plan);
    if (!planned.ok()) return planned;
    const std::string unused = UnusedText(*planned, nodes);
    const std::string why =
        absl::StrCat(planned->reason, planned->reason.empty() || unused.empty() ? "" : "; ", unused);
    if (why.empty() || why == said) return planned;
    said = why;
    const bool on_gpus = std::any_of(nodes.begin(), nodes.end(), [](const PlanNode& node) { return node.gpu; });
    spdlog::log(on_gpus || !unused.empty() ? spdlog::level::info : spdlog::level::debug, "plan: {}", why);
    return planned;
  };
  added->pinned = what.pinned;
  added->keep_alive = what.keep_alive;
  const int64_t id = ++last_model_;
  {
    absl::MutexLock lock(&fleet_mutex_);
    names_[id] = what.name;
  }
  queue_.Push(ModelAdded{.model = id, .what = std::move(added)});
  return id;
}

void ClusterEngine::RemoveModel(int64_t model) {
  queue_.Push(ModelRemoved{model});
  {
    absl::MutexLock lock(&fleet_mutex_);
    names_.erase(model);
  }
  absl::MutexLock lock(&adapters_mutex_);
  std::erase_if(adapters_, [model](const auto& one) { return one.second.model == model; });
}

void ClusterEngine::UnloadModel(int64_t model) { queue_.Push(ModelUnloadAsked{model}); }

void ClusterEngine::Hold(int64_t hold, int64_t model, std::optional<absl::Duration> keep_alive, absl::Duration wait_max,
                         std::function<void(absl::Status)> done) {
  {
    absl::MutexLock lock(&submissions_mutex_);
    if (accepting_) {
      holds_[hold] = std::move(done);
      queue_.Push(ModelHeld{.hold = hold, .model = model, .keep_alive = keep_alive, .wait_max = wait_max});
      return;
    }
  }
  done(absl::UnavailableError("the coordinator is shutting down"));
}

std::string ClusterEngine::WorkersMissing() const {
  absl::MutexLock lock(&fleet_mutex_);
  const int missing = options_.workers_expected - fleet_.workers();
  return missing <= 0 ? "" : absl::StrFormat("waiting for %d of %d workers", missing, options_.workers_expected);
}

void ClusterEngine::Release(int64_t hold) {
  std::function<void(absl::Status)> done;  // Ends without the lock.
  {
    absl::MutexLock lock(&submissions_mutex_);
    if (const auto found = holds_.find(hold); found != holds_.end()) {
      done = std::move(found->second);
      holds_.erase(found);
    }
  }
  queue_.Push(ModelReleased{hold});
}

ModelStanding ClusterEngine::Standing(int64_t model) const {
  absl::MutexLock lock(&fleet_mutex_);
  return fleet_.Standing(model);
}

std::unique_ptr<ModelEngine> ClusterEngine::EngineOf(int64_t model) {
  return std::make_unique<ModelEngine>(*this, model);
}

std::string ClusterEngine::StatusJson() const {
  if (primary_ != 0) return StateJson(State(), options_.model_reference);
  absl::MutexLock lock(&fleet_mutex_);
  std::vector<std::pair<std::string, ModelStanding>> models;
  for (const auto& [id, name] : names_) models.emplace_back(name, fleet_.Standing(id));
  return FleetJson(models, clock_.Now());
}

absl::Status ClusterEngine::Listen() {
  grpc::ServerBuilder builder;
  // Without this a second server on the port would take a share of its connections instead of failing.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kJoinProbeMsMin);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || (port_ == 0 && !absl::StartsWith(options_.listen, "unix:"))) {
    return absl::UnavailableError(absl::StrFormat(
        "cannot listen on %s: the port is in use, or the address is not one of this machine", options_.listen));
  }
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

ClusterEngine::~ClusterEngine() {
  if (thread_.joinable()) {
    queue_.Push(ShutdownAsked{"the coordinator is shutting down"});
    stopping_ = true;
    thread_.join();
  }
  if (server_ != nullptr) {
    server_->Shutdown(absl::ToChronoTime(absl::Now() + kGoodbye));
    server_->Wait();
    service_.AwaitNoStreams();
  }
}

void ClusterEngine::Run() {
  absl::Time next_sweep = clock_.Now();
  bool last = false;
  while (!last) {
    // The flag is set after the shutdown was pushed, so the events taken after seeing it have the shutdown among them.
    last = stopping_;
    const std::vector<FleetEvent> events = queue_.Take(last ? absl::ZeroDuration() : kTick);
    const absl::Time now = clock_.Now();
    FleetActions actions;
    {
      absl::MutexLock lock(&fleet_mutex_);
      actions = fleet_.Step(now, events);
      if (const Core* core = fleet_.Find(primary_); core != nullptr) {
        ready_ = core->ready();
        refusal_ = core->refusal();
      }
    }
    Perform(std::move(actions));
    for (const FleetEvent& event : events) service_.EventDone(event);
    if (now >= next_sweep) {
      service_.CloseSilent();
      next_sweep = now + kTick;
    }
  }
  std::map<int64_t, std::function<void(absl::Status)>> holds;
  {
    absl::MutexLock lock(&submissions_mutex_);
    accepting_ = false;
    for (auto& [id, submission] : submissions_) {
      submission->verdict = absl::UnavailableError("the coordinator is shutting down");
      submission->done.Notify();
    }
    submissions_.clear();
    holds.swap(holds_);
  }
  for (const auto& [id, done] : holds) done(absl::UnavailableError("the coordinator is shutting down"));
}

// Holds first: whoever waits for a model shall hear of it before the tokens that others get.
void ClusterEngine::PerformHolds(const std::vector<HoldVerdict>& verdicts) {
  for (const HoldVerdict& verdict : verdicts) {
    std::function<void(absl::Status)> done;
    {
      absl::MutexLock lock(&submissions_mutex_);
      const auto found = holds_.find(verdict.hold);
      if (found == holds_.end()) continue;  // Released.
      done = std::move(found->second);
      holds_.erase(found);
    }
    done(verdict.status);
  }
}

void ClusterEngine::Perform(FleetActions all) {
  PerformHolds(all.holds);
  Actions& actions = all.actions;
  for (SendToWorker& send : actions.sends) {
    if (auto stream = service_.Find(send.worker_id)) stream->Send(std::move(send.message));
  }
  for (const DisconnectWorker& disconnect : actions.disconnects) {
    if (auto stream = service_.Find(disconnect.worker_id)) stream->Close(disconnect.reason);
  }
  for (Verdict& verdict : actions.verdicts) {
    absl::MutexLock lock(&submissions_mutex_);
    const auto found = submissions_.find(verdict.request_id);
    Submission& submission = *found->second;
    if (verdict.status.ok()) on_update_[verdict.request_id] = std::move(submission.on_update);
    submission.verdict = std::move(verdict.status);
    submissions_.erase(found);
    submission.done.Notify();  // The submitter may end the object's life from here on.
  }
  for (RequestUpdate& update : actions.updates) {
    const auto found = on_update_.find(update.request_id);
    if (update.finish == FinishReason::kNone) {
      found->second(std::move(update));
    } else {
      const OnUpdate on_update = std::move(found->second);
      on_update_.erase(found);
      on_update(std::move(update));
    }
  }
  for (const AdapterVerdict& verdict : actions.adapters) Report(verdict);
}

absl::StatusOr<int64_t> ClusterEngine::Submit(GenerateRequest request, OnUpdate on_update) {
  return SubmitTo(primary_, std::move(request), std::move(on_update));
}

absl::StatusOr<int64_t> ClusterEngine::SubmitTo(int64_t model, GenerateRequest request, OnUpdate on_update) {
  const int64_t id = ++last_request_id_;
  Submission submission;
  submission.on_update = std::move(on_update);
  {
    absl::MutexLock lock(&submissions_mutex_);
    if (!accepting_) return absl::UnavailableError("the coordinator is shutting down");
    submissions_[id] = &submission;
    RequestSubmitted submitted{.request_id = id, .request = std::move(request), .fallback_seed = RandomSeed()};
    queue_.Push(ModelRequest{.model = model, .request = std::move(submitted)});
  }
  submission.done.WaitForNotification();
  if (!submission.verdict.ok()) return submission.verdict;
  return id;
}

int64_t ClusterEngine::LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) {
  return LoadAdapterOf(primary_, std::move(parts), std::move(on_change));
}

int64_t ClusterEngine::LoadAdapterOf(int64_t model, std::vector<std::string> parts,
                                     std::function<void(absl::Status)> on_change) {
  const int64_t id = ++last_adapter_id_;
  for (std::string& part : parts) {
    if (!absl::StrContains(part, "://")) part = std::filesystem::absolute(part).string();
  }
  {
    absl::MutexLock lock(&adapters_mutex_);
    adapters_[id] = {.model = model, .on_change = std::move(on_change)};
  }
  queue_.Push(ModelRequest{.model = model, .request = AdapterAsked{.adapter_id = id, .parts = std::move(parts)}});
  return id;
}

void ClusterEngine::UnloadAdapter(int64_t id) { UnloadAdapterOf(primary_, id); }

void ClusterEngine::UnloadAdapterOf(int64_t model, int64_t id) {
  {
    absl::MutexLock lock(&adapters_mutex_);
    adapters_.erase(id);
  }
  queue_.Push(ModelRequest{.model = model, .request = AdapterDropped{id}});
}

void ClusterEngine::Report(const AdapterVerdict& verdict) {
  std::function<void(absl::Status)> on_change;
  {
    absl::MutexLock lock(&adapters_mutex_);
    const auto found = adapters_.find(verdict.adapter_id);
    if (found == adapters_.end()) return;  // Unloaded meanwhile.
    on_change = found->second.on_change;
    if (!verdict.status.ok()) adapters_.erase(found);
  }
  on_change(verdict.status);
}

void ClusterEngine::Cancel(int64_t request_id) { CancelOf(primary_, request_id); }

void ClusterEngine::CancelOf(int64_t model, int64_t request_id) {
  queue_.Push(ModelRequest{.model = model, .request = RequestCancelled{request_id}});
}

EngineState ClusterEngine::State() const { return StateOf(primary_); }

EngineState ClusterEngine::StateOf(int64_t model) const {
  absl::MutexLock lock(&fleet_mutex_);
  const Core* const core = fleet_.Find(model);
  return core == nullptr ? EngineState() : core->State();
}

absl::Status ClusterEngine::WaitReady(absl::Duration timeout,
                                      const std::function<absl::Status(const EngineState&)>& progress) {
  const absl::Time deadline = clock_.Now() + timeout;
  absl::MutexLock lock(&fleet_mutex_);
  const auto settled = [this] {
    fleet_mutex_.AssertHeld();
    return ready_ || !refusal_.ok();
  };
  const auto patience = [&] {
    const absl::Duration left = deadline - clock_.Now();
    return progress ? std::min(left, kProgressInterval) : left;
  };
  while (!fleet_mutex_.AwaitWithTimeout(absl::Condition(&settled), patience())) {
    if (clock_.Now() >= deadline) break;
    if (!progress) continue;
    const EngineState state = fleet_.Find(primary_)->State();
    fleet_mutex_.Unlock();
    const absl::Status verdict = progress(state);
    fleet_mutex_.Lock();
    if (!verdict.ok()) return verdict;
  }
  if (ready_) return absl::OkStatus();
  if (!refusal_.ok()) return refusal_;
  return absl::DeadlineExceededError(
      absl::StrFormat("not ready after %s: %s", absl::FormatDuration(timeout), fleet_.Find(primary_)->State().reason));
}

}  // namespace barn
