#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "sharding/rank_link.h"
#include "worker/exchange/grpc_hop.h"
#include "worker/service/machine.h"
#include "worker/service/worker.h"

namespace barn {

proto::WorkerMessage FailureMessage(int64_t epoch, int64_t step_id, const absl::Status& status) {
  proto::WorkerMessage message;
  proto::StepFailure& failure = *message.mutable_step_failure();
  failure.set_epoch(epoch);
  failure.set_step_id(step_id);
  failure.set_code(static_cast<int32_t>(status.code()));
  failure.set_error(std::string(status.message()));
  return message;
}

namespace {

constexpr size_t kResidentsMax = 1024;  // Idle ones go when there are more.

// What `work` returns, or a status for what it throws: no size that a message or a file asks for may end the process.
template <class Work>
auto Guarded(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::function<void(const FetchProgress&)> ProgressTo(std::shared_ptr<Outbox> outbox, int64_t epoch) {
  return [outbox = std::move(outbox), epoch](const FetchProgress& progress) {
    proto::WorkerMessage message;
    proto::LoadProgress& out = *message.mutable_load_progress();
    out.set_epoch(epoch);
    out.set_bytes_done(progress.bytes_done);
    out.set_bytes_total(progress.bytes_total);
    out.set_bytes_per_second(progress.bytes_per_second);
    outbox->Send(std::move(message));
  };
}

}  // namespace

void Worker::Compute() {
  while (std::optional<WorkerCommand> command = commands_.Pop()) {
    if (command->message.has_step()) {
      HandleStep(*command);
      EndIfBroken();
      device_->ReadAhead([this] { return !commands_.empty(); });
    } else if (command->message.has_load()) {
      HandleLoad(*command);
      EndIfBroken();
    } else if (command->message.has_load_adapter() || command->message.has_unload_adapter()) {
      HandleAdapter(*command);
      EndIfBroken();
    } else {
      HandleEnd(*command);
    }
  }
}

void Worker::EndIfBroken() {
  absl::Status status = device_->status();
  if (status.ok()) return;
  absl::MutexLock lock(&mutex_);
  broken_ = absl::Status(status.code(), absl::StrFormat("%s: %s", device_->Describe(), status.message()));
}

Worker::Resident* Worker::FindEpoch(int64_t epoch) {
  for (auto& [deployment, resident] : residents_) {
    if (resident.stage != nullptr && resident.stage->epoch() == epoch) return &resident;
  }
  return nullptr;
}

void Worker::EndStage(Resident& resident) {
  resident.adapters.End();
  resident.stage.reset();
  if (resident.frames != nullptr) frames_.End(resident.epoch);
  resident.frames.reset();
}

void Worker::NoteEpoch() {
  int64_t newest = 0;
  for (const auto& [deployment, resident] : residents_) {
    if (resident.stage != nullptr) newest = std::max(newest, resident.stage->epoch());
  }
  epoch_ = newest;
}

void Worker::HandleEnd(const WorkerCommand& command) {
  const int64_t epoch = EpochOf(command.message);
  for (auto resident = residents_.begin(); resident != residents_.end(); ++resident) {
    if (resident->second.epoch != epoch) continue;
    EndStage(resident->second);
    if (command.message.has_unload()) Drop(resident);
    break;
  }
  NoteEpoch();
}

void Worker::Drop(std::map<int64_t, Resident>::iterator resident) {
  EndStage(resident->second);
  resident->second.loader->Unload();  // Now: a thread that fetches may hold the loader for longer.
  residents_.erase(resident);
}

SliceMemory Worker::MemoryLeft(int64_t deployment) const {
  SliceMemory left{.bytes = options_.memory_bytes, .host_bytes = options_.host_memory_bytes};
  for (const auto& [other, resident] : residents_) {
    if (other == deployment) continue;
    left.bytes -= resident.loader->held().bytes + resident.adapters.bytes();
    left.host_bytes -= resident.loader->held().host_bytes;
  }
  return left;
}

bool Worker::DropIdle(int64_t deployment, const Outbox* current) {
  for (auto resident = residents_.begin(); resident != residents_.end(); ++resident) {
    const bool runs = resident->second.stage != nullptr && resident->second.asked_by.get() == current;
    if (resident->first == deployment || runs) continue;
    Drop(resident);
    return true;
  }
  return false;
}

absl::StatusOr<SliceLoader::Loaded> Worker::LoadSlice(const proto::LoadRequest& request, const WorkerCommand& command) {
  const auto on_progress = ProgressTo(command.reply_to, request.epoch());
  while (true) {
    SliceLoader& loader = *residents_[request.deployment()].loader;
    auto loaded =
        Guarded([&] { return loader.Load(request, MemoryLeft(request.deployment()), command.stop, on_progress); });
    if (!absl::IsResourceExhausted(loaded.status()) || !DropIdle(request.deployment(), command.reply_to.get())) {
      return loaded;
    }
  }
}

absl::Status Worker::Load(const proto::LoadRequest& request, const WorkerCommand& command, proto::LoadResult& result) {
  const bool is_last = request.stage() == request.stages() - 1;
  if (request.epoch() < 1) {
    return absl::InvalidArgumentError(absl::StrFormat("load: epoch %d", request.epoch()));
  }
  if (request.stages() > 1 && request.exchange_token().empty()) {
    return absl::InvalidArgumentError("load: several stages and no exchange token");
  }
  BARN_ASSIGN_OR_RETURN(const SliceLoader::Loaded loaded, LoadSlice(request, command));
  result.set_bytes_moved(loaded.bytes_moved);
  result.set_expert_bytes_per_token(loaded.expert_bytes_per_token);

  StageOptions stage;
  stage.epoch = request.epoch();
  stage.slice = loaded.slice;
  stage.device = device_.get();
  stage.limits = {.step_tokens_max = request.step_tokens_max(),
                  .vocabulary = loaded.slice->vocabulary(),
                  .context_tokens = loaded.slice->context_tokens(),
                  .is_last = is_last,
                  .width = loaded.slice->width(),
                  .encoder = loaded.slice->encoder(),
                  .has_scores = loaded.slice->has_scores()};
  stage.kv = {.kv_blocks = request.kv_blocks(), .kv_block_tokens = request.kv_block_tokens()};
  stage.frame_wait = options_.frame_wait;
  if (request.ranks() > 1) {
    if (!device_->host_addressable()) stage.frame_wait = std::min(options_.frame_wait, options_.exchange_wait);
    BARN_RETURN_IF_ERROR(JoinRanks(request, command, stage));
  }
  if (!is_last) {
    BARN_ASSIGN_OR_RETURN(stage.sender, CreateGrpcHopSender({.address = request.next_exchange_address(),
                                                             .token = request.exchange_token()}));
  }
  Resident& resident = residents_[request.deployment()];
  if (request.stage() > 0) {
    const HopEpoch epoch{
        .epoch = request.epoch(), .rows_max = request.step_tokens_max(), .width = loaded.slice->width()};
    BARN_ASSIGN_OR_RETURN(resident.frames, frames_.Begin(epoch, request.exchange_token()));
    stage.receiver = resident.frames.get();
  }
  BeginAdapters(resident, loaded.slice, command);
  resident.stage = std::make_unique<Stage>(std::move(stage));
  return absl::OkStatus();
}

absl::Status Worker::JoinRanks(const proto::LoadRequest& request, const WorkerCommand& command, StageOptions& stage) {
  if (request.stages() > 1) {
    return absl::UnimplementedError(
        absl::StrFormat("load: %d stages of %d ranks; ranks share a whole model", request.stages(), request.ranks()));
  }
  if (request.rank_addresses_size() != request.ranks() || port_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("load: %d addresses for %d ranks, and this worker %s one",
                                                      request.rank_addresses_size(), request.ranks(),
                                                      port_ == nullptr ? "has no" : "has"));
  }
  std::vector<std::string> addresses;
  for (const std::string& bytes : request.rank_addresses()) {
    RankLink link = ParseRankLink(bytes);
    if (!link.missing.empty()) {
      return absl::UnavailableError(absl::StrFormat("load: rank %d cannot be one: %s", addresses.size(), link.missing));
    }
    if (link.transport != port_->transport()) {
      return absl::InvalidArgumentError(absl::StrFormat("load: rank %d exchanges by %s, this worker by %s",
                                                        addresses.size(), link.transport, port_->transport()));
    }
    addresses.push_back(std::move(link.address));
  }
  const auto still_here = [&] {
    proto::WorkerMessage message;
    message.mutable_load_progress()->set_epoch(request.epoch());
    command.reply_to->Send(std::move(message));
    // An address that serves once is used up by now, and the next plan may come before this load ends.
    if (NoteAddress()) command.reply_to->Send(HeartbeatMessage());
  };
  BARN_ASSIGN_OR_RETURN(stage.collective,
                        port_->Join({.epoch = request.epoch(),
                                     .token = request.exchange_token(),
                                     .rank = request.rank(),
                                     .addresses = std::move(addresses),
                                     .floats_max = stage.slice->shared_floats_max(),
                                     .wait = {.deadline = absl::Now() + options_.rank_wait, .stop = command.stop},
                                     .on_wait = still_here}));
  return absl::OkStatus();
}

// The coordinator plans anew. On processors all that came through the port ends with it; NCCL has a communicator for
// each model.
void Worker::EndRanks(Resident& resident, const WorkerCommand& command) {
  EndStage(resident);
  if (device_->host_addressable()) {
    for (auto& [deployment, other] : residents_) {
      if (other.stage != nullptr && other.stage->has_ranks()) EndStage(other);
    }
    OpenPort();
  }
  NoteEpoch();
  if (NoteAddress()) command.reply_to->Send(HeartbeatMessage());
}

bool Worker::FetchFirst(Resident& resident, const WorkerCommand& command) {
  fetching_.remove_if([](const Fetching& one) { return one.done->load(); });
  const bool others = std::any_of(residents_.begin(), residents_.end(), [&](const auto& other) {
    return &other.second != &resident && other.second.stage != nullptr;
  });
  if (!others || command.fetched || !IsRemote(command.message.load())) return false;
  Fetching& fetching = fetching_.emplace_back();
  fetching.done = std::make_shared<std::atomic<bool>>(false);
  fetching.thread =
      std::jthread([this, loader = resident.loader, command = WorkerCommand(command), done = fetching.done]() mutable {
        const proto::LoadRequest& request = command.message.load();
        const absl::Status status = Guarded(
            [&] { return loader->Fetch(request, command.stop, ProgressTo(command.reply_to, request.epoch())); });
        // What went wrong goes wrong again, and is told then.
        if (!status.ok()) spdlog::debug("fetching for epoch {}: {}", request.epoch(), std::string(status.message()));
        command.fetched = true;
        commands_.Return(std::move(command));
        done->store(true);
      });
  return true;
}

void Worker::HandleLoad(const WorkerCommand& command) {
  const proto::LoadRequest& request = command.message.load();
  if (Resident* const old = FindEpoch(request.epoch())) EndStage(*old);  // Of a coordinator before this one.
  while (residents_.size() >= kResidentsMax && DropIdle(request.deployment(), command.reply_to.get())) {
  }
  Resident& resident = residents_[request.deployment()];
  EndStage(resident);
  if (resident.loader == nullptr) {
    resident.loader = std::make_shared<SliceLoader>(
        SliceLoaderOptions{.device = device_.get(),
                           .cache_directory = options_.cache_dir.empty() ? DefaultCacheDirectory() : options_.cache_dir,
                           .cache_bytes_max = options_.cache_bytes_max,
                           .host_device = [this] { return HostDevice(); }});
  }
  resident.epoch = request.epoch();
  resident.asked_by = command.reply_to;
  if (FetchFirst(resident, command)) return;
  proto::WorkerMessage message;
  proto::LoadResult& result = *message.mutable_load_result();
  result.set_epoch(request.epoch());
  const absl::Status status = Guarded([&] { return Load(request, command, result); });
  if (NoteAddress()) command.reply_to->Send(HeartbeatMessage());
  // A later message has overtaken this one: its frames and its epoch count.
  if (command.stop.stop_requested()) {
    EndStage(resident);
    NoteEpoch();
    return;
  }
  result.set_code(static_cast<int32_t>(status.code()));
  result.set_error(std::string(status.message()));
  if (!status.ok()) EndStage(resident);
  if (!status.ok() && resident.loader->held().bytes == 0) residents_.erase(request.deployment());
  NoteEpoch();
  command.reply_to->Send(std::move(message));
}

void Worker::BeginAdapters(Resident& resident, std::shared_ptr<Slice> slice, const WorkerCommand& command) {
  const proto::LoadRequest& request = command.message.load();
  const int64_t bytes_max = MemoryLeft(request.deployment()).bytes - resident.loader->held().bytes;
  resident.adapters.Begin(request, resident.loader->model(), std::move(slice), bytes_max, command.stop,
                          [&](const proto::AdapterResult& result) {
                            proto::WorkerMessage message;
                            *message.mutable_adapter_result() = result;
                            command.reply_to->Send(std::move(message));
                          });
}

void Worker::HandleAdapter(const WorkerCommand& command) {
  Resident* const resident = FindEpoch(EpochOf(command.message));
  if (resident == nullptr) return;  // Of an epoch that is over.
  if (command.message.has_unload_adapter()) {
    resident->adapters.Remove(command.message.unload_adapter().adapter_id());
    return;
  }
  const auto again = [this, message = command.message, reply_to = command.reply_to] {
    return commands_.Push(message, reply_to).taken;
  };
  const proto::LoadAdapter& request = command.message.load_adapter();
  const std::optional<proto::AdapterResult> result = resident->adapters.Continue(request, again);
  if (!result.has_value()) return;
  proto::WorkerMessage message;
  *message.mutable_adapter_result() = *result;
  command.reply_to->Send(std::move(message));
}

void Worker::HandleStep(const WorkerCommand& command) {
  const proto::StepRequest& request = command.message.step();
  absl::StatusOr<proto::StepResult> result = absl::FailedPreconditionError("");
  Resident* const resident = FindEpoch(request.epoch());
  if (resident == nullptr) {
    result = absl::FailedPreconditionError(
        absl::StrFormat("step %d of epoch %d, which does not run here; the newest that does is %d", request.step_id(),
                        request.epoch(), epoch_.load()));
  } else {
    result = Guarded([&] { return resident->stage->Run(request, command.stop); });
    if (!result.ok() && resident->stage->has_ranks()) EndRanks(*resident, command);
  }
  if (!result.ok()) {
    command.reply_to->Send(FailureMessage(request.epoch(), request.step_id(), result.status()));
    return;
  }
  proto::WorkerMessage message;
  *message.mutable_step_result() = *std::move(result);
  command.reply_to->Send(std::move(message));
}

}  // namespace barn
