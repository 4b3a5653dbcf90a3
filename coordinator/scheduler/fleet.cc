#include "coordinator/scheduler/fleet.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);  // How often cores without events look at the time.

template <class T>
void Append(std::vector<T>& from, std::vector<T>& to) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

}  // namespace

std::string_view PhaseName(ModelStanding::Phase phase) {
  switch (phase) {
    case ModelStanding::Phase::kUnloaded:
      return "unloaded";
    case ModelStanding::Phase::kWaiting:
      return "waiting";
    case ModelStanding::Phase::kLoading:
      return "loading";
    case ModelStanding::Phase::kReady:
      return "loaded";
    case ModelStanding::Phase::kFailed:
      return "failed";
  }
  return "unknown";
}

FleetActions Fleet::Step(absl::Time now, std::span<const FleetEvent> events) {
  now_ = std::max(now_, now);
  for (const FleetEvent& event : events) {
    std::visit([this](const auto& one) { Handle(one); }, event);
  }
  WatchTime();
  StepDue();
  SettleHolds();  // First: what was loaded for somebody must not go before they had it.
  Expire();
  Arrange();
  StepDue();
  SettleHolds();
  return std::exchange(actions_, {});
}

const Core* Fleet::Find(int64_t model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? nullptr : found->second.core.get();
}

std::vector<int64_t> Fleet::models() const {
  std::vector<int64_t> ids;
  for (const auto& [id, model] : models_) ids.push_back(id);
  return ids;
}

ModelStanding Fleet::Standing(int64_t id) const {
  ModelStanding standing;
  const auto found = models_.find(id);
  if (found == models_.end()) return standing;
  const Model& model = found->second;
  standing.pinned = model.what->pinned;
  standing.users = model.users;
  standing.engine = model.core->State();
  for (const auto& [worker, bytes] : model.core->MemoryUse()) standing.memory_bytes += bytes.bytes + bytes.host_bytes;
  if (model.core->ready()) {
    standing.phase = ModelStanding::Phase::kReady;
    standing.expires = model.idle() && !model.what->pinned ? model.expires : absl::InfiniteFuture();
  } else if (model.core->running()) {
    standing.phase = ModelStanding::Phase::kLoading;
  } else if (model.wanted && model.failure.ok()) {
    standing.phase = ModelStanding::Phase::kWaiting;
    if (!model.victims.empty()) standing.engine.reason = "waiting for other models to make room";
    if (standing.engine.reason == "not loaded") standing.engine.reason = "waiting for its turn to be loaded";
  } else if (!model.failure.ok()) {
    standing.phase = ModelStanding::Phase::kFailed;
    standing.engine.failed = true;
    standing.engine.reason = std::string(model.failure.message());
  }
  return standing;
}

void Fleet::Tell(Model& model, Event event) {
  model.inbox.push_back(std::move(event));
  model.due = true;
}

void Fleet::Handle(const WorkerJoined& event) {
  absl::Status status = stopped_ ? absl::UnavailableError("the coordinator is shutting down")
                                 : members_.Join(now_, event.worker_id, event.hello, options_.version);
  if (!status.ok()) {
    actions_.actions.disconnects.push_back({event.worker_id, std::move(status)});
    return;
  }
  actions_.actions.sends.push_back(
      {event.worker_id, WelcomeMessage(event.worker_id, options_.heartbeat, options_.lease)});
  for (auto& [id, model] : models_) Tell(model, event);
  MembershipChanged();
}

void Fleet::MembershipChanged() {
  for (auto& [id, model] : models_) {
    model.failure = absl::OkStatus();
    if (model.what->pinned && !stopped_) Want(model);
  }
}

void Fleet::Handle(const WorkerSaid& event) {
  Member* member = members_.Find(event.worker_id);
  if (member == nullptr) return;
  member->heard = now_;
  const proto::WorkerMessage& message = event.message;
  absl::Status status;
  if (message.has_hello() || message.message_case() == proto::WorkerMessage::MESSAGE_NOT_SET) {
    status = absl::InvalidArgumentError("a second Hello or an empty message");
  } else if (message.has_heartbeat()) {
    status = Members::OnHeartbeat(message.heartbeat(), *member);
    if (status.ok()) {
      for (auto& [id, model] : models_) Tell(model, event);
    }
  } else if (EpochOf(message) > last_epoch_) {
    status = absl::InvalidArgumentError(absl::StrFormat("epoch %d, the newest is %d", EpochOf(message), last_epoch_));
  } else {
    for (auto& [id, model] : models_) {
      if (model.core->epoch() == EpochOf(message)) Tell(model, event);
    }
  }
  // Aborted lets it join again, which InvalidArgument after a Hello would not.
  if (!status.ok()) {
    DropAndDisconnect(event.worker_id,
                      absl::AbortedError(absl::StrCat("it broke the protocol: ", std::string(status.message()))));
  }
}

void Fleet::Handle(const ShutdownAsked& event) {
  if (stopped_) return;
  stopped_ = true;
  for (auto& [id, model] : models_) {
    Tell(model, event);
    Fail(model, absl::UnavailableError(event.reason));
  }
  StepDue();
  auto message = std::make_shared<proto::CoordinatorMessage>();
  message->mutable_shutdown()->set_reason(event.reason);
  for (const auto& [id, member] : members_.by_id()) {
    actions_.actions.sends.push_back({id, message});
    actions_.actions.disconnects.push_back({id, absl::OkStatus()});
  }
  members_ = {};
}

void Fleet::Handle(const ModelAdded& event) {
  Model& model = models_[event.model];
  model.id = event.model;
  model.what = event.what;
  CoreOptions options = event.what->core;
  options.in_fleet = true;
  options.deployment = event.model;
  options.next_epoch = [this] { return ++last_epoch_; };
  model.core = std::make_unique<Core>(std::move(options), event.what->planner);
  for (const auto& [id, member] : members_.by_id()) Tell(model, WorkerJoined{.worker_id = id, .hello = member.hello});
  if (stopped_) Tell(model, ShutdownAsked{"the coordinator is shutting down"});
  if (model.what->pinned && !stopped_) Want(model);
}

void Fleet::Handle(const ModelRemoved& event) {
  const auto found = models_.find(event.model);
  if (found == models_.end()) return;
  Model& model = found->second;
  Unload(model, "the model was removed");
  Fail(model, absl::NotFoundError("the model was removed"));
  std::erase_if(holds_, [&](const auto& hold) { return hold.second.model == event.model; });
  models_.erase(found);
}

void Fleet::Handle(const ModelHeld& event) {
  const auto found = models_.find(event.model);
  if (found == models_.end() || stopped_) {
    actions_.holds.push_back({event.hold, stopped_ ? absl::UnavailableError("the coordinator is shutting down")
                                                   : absl::NotFoundError("there is no such model")});
    return;
  }
  Model& model = found->second;
  holds_[event.hold] = {.model = event.model, .keep_alive = event.keep_alive, .until = now_ + event.wait_max};
  ++model.waiting;
  model.unload_asked = false;
  Want(model);
}

void Fleet::Handle(const ModelReleased& event) {
  const auto found = holds_.find(event.hold);
  if (found == holds_.end()) return;
  Model& model = models_.at(found->second.model);
  --(found->second.granted ? model.users : model.waiting);
  holds_.erase(found);
  model.used_order = ++order_;
  model.expires = model.keep_alive < absl::ZeroDuration() ? absl::InfiniteFuture() : now_ + model.keep_alive;
  NoLongerWanted(model);
}

void Fleet::Handle(const ModelUnloadAsked& event) {
  const auto found = models_.find(event.model);
  if (found == models_.end()) return;
  Model& model = found->second;
  model.unload_asked = true;
  if (!model.core->running()) model.wanted = model.waiting > 0;
}

void Fleet::Handle(const ModelRequest& event) {
  const auto found = models_.find(event.model);
  if (found == models_.end()) {
    const absl::Status removed = absl::UnavailableError("the model was removed");
    if (const auto* submitted = std::get_if<RequestSubmitted>(&event.request)) {
      actions_.actions.verdicts.push_back({submitted->request_id, removed});
    } else if (const auto* asked = std::get_if<AdapterAsked>(&event.request)) {
      actions_.actions.adapters.push_back({asked->adapter_id, removed});
    }
    return;
  }
  std::visit([&](const auto& request) { Tell(found->second, request); }, event.request);
}

void Fleet::Drop(int64_t worker_id, const std::string& reason, const Model* knows) {
  if (members_.Find(worker_id) == nullptr) return;
  members_.Remove(worker_id);
  for (auto& [id, model] : models_) {
    if (&model != knows) Tell(model, WorkerLost{.worker_id = worker_id, .reason = reason});
  }
  MembershipChanged();
}

void Fleet::DropAndDisconnect(int64_t worker_id, const absl::Status& reason) {
  actions_.actions.disconnects.push_back({worker_id, reason});
  Drop(worker_id, std::string(reason.message()), nullptr);
}

void Fleet::WatchTime() {
  for (int64_t id : members_.Expired(now_, options_.lease)) {
    DropAndDisconnect(id, absl::DeadlineExceededError(absl::StrFormat(
                              "no message for %s", absl::FormatDuration(now_ - members_.Find(id)->heard))));
  }
  if (now_ < next_tick_) return;
  next_tick_ = now_ + kTick;
  for (auto& [id, model] : models_) model.due = true;
}

// A core that drops a worker makes the others due.
void Fleet::StepDue() {
  for (bool any = true; any;) {
    any = false;
    for (auto& [id, model] : models_) {
      if (!model.due) continue;
      any = true;
      StepCore(model);
    }
  }
}

void Fleet::StepCore(Model& model) {
  model.due = false;
  const std::vector<Event> events = std::exchange(model.inbox, {});
  Actions actions = model.core->Step(now_, events);
  for (const DisconnectWorker& disconnect : actions.disconnects) {
    if (members_.Find(disconnect.worker_id) == nullptr) continue;
    actions_.actions.disconnects.push_back(disconnect);
    Drop(disconnect.worker_id, std::string(disconnect.reason.message()), &model);
  }
  Append(actions.sends, actions_.actions.sends);
  Append(actions.verdicts, actions_.actions.verdicts);
  Append(actions.updates, actions_.actions.updates);
  Append(actions.adapters, actions_.actions.adapters);
}

void Fleet::SettleHolds() {
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    Model& model = models_.at(hold->second.model);
    if (hold->second.granted) {
      ++hold;
    } else if (model.core->ready() && !model.leaving) {
      hold->second.granted = true;
      --model.waiting;
      ++model.users;
      model.used_order = ++order_;
      if (hold->second.keep_alive.has_value() && !model.what->pinned) model.keep_alive = *hold->second.keep_alive;
      actions_.holds.push_back({hold->first, absl::OkStatus()});
      ++hold;
    } else if (now_ >= hold->second.until) {
      const ModelStanding standing = Standing(model.id);
      actions_.holds.push_back(
          {hold->first, absl::DeadlineExceededError(absl::StrCat(
                            "the model is not loaded yet: ",
                            standing.engine.reason.empty() ? "it leaves and comes back" : standing.engine.reason))});
      hold = holds_.erase(hold);
      --model.waiting;
      NoLongerWanted(model);
    } else {
      ++hold;
    }
  }
}

absl::Status Fleet::CheckInvariants() const {
  MemoryByWorker taken;
  std::set<int64_t> epochs;
  for (const auto& [id, model] : models_) {
    BARN_RETURN_IF_ERROR(model.core->CheckInvariants());
    for (const auto& [worker, bytes] : model.core->MemoryUse()) taken[worker] += bytes;
    if (model.core->running() && !epochs.insert(model.core->epoch()).second) {
      return absl::InternalError(absl::StrFormat("two models run epoch %d", model.core->epoch()));
    }
    const auto count = [&, id = id](bool granted) {
      return std::count_if(holds_.begin(), holds_.end(),
                           [&](const auto& hold) { return hold.second.model == id && hold.second.granted == granted; });
    };
    if (count(true) != model.users || count(false) != model.waiting) {
      return absl::InternalError(
          absl::StrFormat("model %d counts %d users and %d that wait", id, model.users, model.waiting));
    }
    if (model.waiting > 0 && !model.wanted) {
      return absl::InternalError(absl::StrFormat("model %d is waited for and not wanted", id));
    }
  }
  for (const auto& [worker, bytes] : taken) {
    const auto member = members_.by_id().find(worker);
    if (member == members_.by_id().end() || bytes.bytes > member->second.hello.memory_bytes() ||
        bytes.host_bytes > member->second.hello.host_memory_bytes()) {
      return absl::InternalError(absl::StrFormat("%d bytes, and %d of the host, are planned on worker %d", bytes.bytes,
                                                 bytes.host_bytes, worker));
    }
  }
  return absl::OkStatus();
}

}  // namespace barn
