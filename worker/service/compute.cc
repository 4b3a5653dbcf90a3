#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "worker/exchange/grpc_hop.h"
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
      EndStage();
      if (command->message.has_unload()) {
        loader_->Unload();
      }
    }
  }
}

void Worker::EndStage() {
  adapters_.End();
  stage_.reset();
}

void Worker::EndIfBroken() {
  absl::Status status = device_->status();
  if (status.ok()) return;
  absl::MutexLock lock(&mutex_);
  broken_ = absl::Status(status.code(), absl::StrFormat("%s: %s", device_->Describe(), status.message()));
}

absl::Status Worker::Load(const proto::LoadRequest& request, const WorkerCommand& command, proto::LoadResult& result) {
  const bool is_last = request.stage() == request.stages() - 1;
  if (request.epoch() < 1) {
    return absl::InvalidArgumentError(absl::StrFormat("load: epoch %d", request.epoch()));
  }
  if (request.stages() > 1 && request.exchange_token().empty()) {
    return absl::InvalidArgumentError("load: several stages and no exchange token");
  }
  const auto on_progress = [&](const FetchProgress& progress) {
    proto::WorkerMessage message;
    proto::LoadProgress& out = *message.mutable_load_progress();
    out.set_epoch(request.epoch());
    out.set_bytes_done(progress.bytes_done);
    out.set_bytes_total(progress.bytes_total);
    out.set_bytes_per_second(progress.bytes_per_second);
    command.reply_to->Send(std::move(message));
  };
  BARN_ASSIGN_OR_RETURN(const SliceLoader::Loaded loaded, loader_->Load(request, command.stop, on_progress));
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
    BARN_RETURN_IF_ERROR(JoinRanks(request, stage));
  }
  if (request.stage() > 0) {
    stage.receiver = &frames_;
  }
  if (!is_last) {
    BARN_ASSIGN_OR_RETURN(stage.sender, CreateGrpcHopSender({.address = request.next_exchange_address(),
                                                             .token = request.exchange_token()}));
  }
  if (request.stages() > 1) {
    const HopEpoch epoch{
        .epoch = request.epoch(), .rows_max = request.step_tokens_max(), .width = loaded.slice->width()};
    BARN_RETURN_IF_ERROR(exchange_->BeginEpoch(epoch, request.exchange_token()));
  }
  BeginAdapters(loaded.slice, command);
  stage_ = std::make_unique<Stage>(std::move(stage));
  return absl::OkStatus();
}

absl::Status Worker::JoinRanks(const proto::LoadRequest& request, StageOptions& stage) {
  if (request.stages() > 1) {
    return absl::UnimplementedError(
        absl::StrFormat("load: %d stages of %d ranks; ranks share a whole model", request.stages(), request.ranks()));
  }
  if (request.rank_addresses_size() != request.ranks() || port_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("load: %d addresses for %d ranks, and this worker %s one",
                                                      request.rank_addresses_size(), request.ranks(),
                                                      port_ == nullptr ? "has no" : "has"));
  }
  const auto& addresses = request.rank_addresses();
  BARN_ASSIGN_OR_RETURN(stage.collective, port_->Join({.epoch = request.epoch(),
                                                       .token = request.exchange_token(),
                                                       .rank = request.rank(),
                                                       .addresses = {addresses.begin(), addresses.end()},
                                                       .floats_max = stage.slice->shared_floats_max()}));
  return absl::OkStatus();
}

void Worker::HandleLoad(const WorkerCommand& command) {
  const proto::LoadRequest& request = command.message.load();
  EndStage();
  proto::WorkerMessage message;
  proto::LoadResult& result = *message.mutable_load_result();
  result.set_epoch(request.epoch());
  const absl::Status status = Guarded([&] { return Load(request, command, result); });
  // A later message has overtaken this one: its frames and its epoch count.
  if (command.stop.stop_requested()) {
    EndStage();
    frames_.BeginEpoch({});
    return;
  }
  result.set_code(static_cast<int32_t>(status.code()));
  result.set_error(std::string(status.message()));
  epoch_ = status.ok() ? request.epoch() : 0;
  command.reply_to->Send(std::move(message));
}

void Worker::BeginAdapters(std::shared_ptr<Slice> slice, const WorkerCommand& command) {
  adapters_.Begin(command.message.load(), loader_->model(), std::move(slice),
                  options_.memory_bytes - loader_->held_bytes(), command.stop, [&](const proto::AdapterResult& result) {
                    proto::WorkerMessage message;
                    *message.mutable_adapter_result() = result;
                    command.reply_to->Send(std::move(message));
                  });
}

void Worker::HandleAdapter(const WorkerCommand& command) {
  const bool unload = command.message.has_unload_adapter();
  const int64_t epoch = unload ? command.message.unload_adapter().epoch() : command.message.load_adapter().epoch();
  if (stage_ == nullptr || stage_->epoch() != epoch) return;  // Of an epoch that is over.
  if (unload) {
    adapters_.Remove(command.message.unload_adapter().adapter_id());
    return;
  }
  const auto again = [this, message = command.message, reply_to = command.reply_to] {
    return commands_.Push(message, reply_to);
  };
  const std::optional<proto::AdapterResult> result = adapters_.Continue(command.message.load_adapter(), again);
  if (!result.has_value()) return;
  proto::WorkerMessage message;
  *message.mutable_adapter_result() = *result;
  command.reply_to->Send(std::move(message));
}

void Worker::HandleStep(const WorkerCommand& command) {
  const proto::StepRequest& request = command.message.step();
  absl::StatusOr<proto::StepResult> result = absl::FailedPreconditionError("");
  if (stage_ == nullptr || stage_->epoch() != request.epoch()) {
    result = absl::FailedPreconditionError(absl::StrFormat("step %d of epoch %d, this worker runs epoch %d",
                                                           request.step_id(), request.epoch(),
                                                           stage_ == nullptr ? 0 : stage_->epoch()));
  } else {
    result = Guarded([&] { return stage_->Run(request, command.stop); });
    if (!result.ok() && stage_->has_ranks()) {
      EndStage();
      OpenPort();
    }
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
