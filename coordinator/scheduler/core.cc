#include "coordinator/scheduler/core.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/scheduler/results.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr size_t kErrorBytesMax = 500;
constexpr int64_t kCounterMax = int64_t{1} << 50;  // Of one step; sums of many stay far from overflow.

constexpr double kStepRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
constexpr double kQueueSeconds[] = {0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300};

std::string Describe(const Member& member) { return absl::StrFormat("worker %d '%s'", member.id, member.hello.name()); }

bool IsCount(int64_t value) { return value >= 0 && value <= kCounterMax; }

}  // namespace

Core::Core(CoreOptions options, Planner planner)
    : options_(std::move(options)),
      deployment_(options_, std::move(planner)),
      sequences_(options_.encoder),
      step_rows_(kStepRows),
      queue_wait_seconds_(kQueueSeconds) {}

Actions Core::Step(absl::Time now, std::span<const Event> events) {
  now_ = std::max(now_, now);
  for (const Event& event : events) {
    std::visit([this](const auto& one) { Handle(one); }, event);
  }
  WatchTime();
  UnloadAdapters();
  const size_t sends = actions_.sends.size();
  if (deployment_.TryBegin(now_, members_, actions_.sends)) {
    BeginAdapters(sends);
    sequences_.SetPool(KvBlocks(deployment_.plan().kv_blocks, deployment_.plan().kv_block_tokens));
    steps_sent_ = 0;
    times_ = {};
  }
  FillPipeline();
  return std::exchange(actions_, {});
}

void Core::Handle(const WorkerJoined& event) {
  if (deployment_.phase() == Deployment::Phase::kStopped) {
    actions_.disconnects.push_back({event.worker_id, absl::UnavailableError("the coordinator is shutting down")});
    return;
  }
  if (absl::Status status = members_.Join(now_, event.worker_id, event.hello, options_.version); !status.ok()) {
    actions_.disconnects.push_back({event.worker_id, std::move(status)});
    return;
  }
  if (!options_.in_fleet)
    actions_.sends.push_back({event.worker_id, WelcomeMessage(event.worker_id, options_.heartbeat, options_.lease)});
  deployment_.MembershipChanged();
}

void Core::Handle(const WorkerSaid& event) {
  Member* member = members_.Find(event.worker_id);
  if (member == nullptr) return;  // Dropped; its last words are void.
  member->heard = now_;
  absl::Status status;
  if (event.message.has_hello() || event.message.message_case() == proto::WorkerMessage::MESSAGE_NOT_SET) {
    status = absl::InvalidArgumentError("a second Hello or an empty message");
  } else if (event.message.has_heartbeat()) {
    status = Members::OnHeartbeat(event.message.heartbeat(), *member);
  } else {
    const int64_t epoch = EpochOf(event.message);
    if (epoch > deployment_.epoch()) {
      status = absl::InvalidArgumentError(absl::StrFormat("epoch %d, the newest is %d", epoch, deployment_.epoch()));
    } else if (epoch == deployment_.epoch() && member->stage >= 0) {
      status = OnMessage(event.message, *member);
    }
  }
  // Aborted lets it join again, which InvalidArgument after a Hello would not.
  if (!status.ok()) {
    DropAndDisconnect(event.worker_id,
                      absl::AbortedError(absl::StrCat("it broke the protocol: ", std::string(status.message()))));
  }
}

void Core::Handle(const WorkerLost& event) { DropMember(event.worker_id, event.reason); }

void Core::Handle(const RequestSubmitted& event) {
  absl::Status status = CheckSubmission(event);
  const absl::Time deadline = now_ + event.request.timeout;
  if (status.ok()) status = sequences_.Add(event.request_id, event.request, event.fallback_seed, deadline);
  if (status.ok()) {
    next_deadline_ = std::min(next_deadline_, deadline);
    sequences_.Admit(options_.running_max);
    ++counters_.requests;
    arrived_[event.request_id] = now_;
  }
  actions_.verdicts.push_back({event.request_id, std::move(status)});
}

absl::Status Core::CheckSubmission(const RequestSubmitted& event) const {
  if (!deployment_.ready()) {
    return absl::UnavailableError(absl::StrCat("the model is not ready: ", deployment_.Reason(members_)));
  }
  BARN_RETURN_IF_ERROR(CheckRequest(event.request, {.vocabulary = options_.vocabulary,
                                                    .sequence_tokens_max = deployment_.sequence_tokens_max(),
                                                    .whole_tokens_max = options_.encoder ? options_.step_tokens_max : 0,
                                                    .embeddings = options_.embedding_floats > 0,
                                                    .scores = options_.has_scores}));
  BARN_RETURN_IF_ERROR(adapters_.CheckReady(event.request.adapters));
  if (sequences_.Contains(event.request_id)) {
    return absl::AlreadyExistsError(absl::StrFormat("request %d exists already", event.request_id));
  }
  return CheckQueue(event.request.tenant);
}

void Core::Handle(const RequestCancelled& event) {
  Sequence* sequence = sequences_.FindRunning(event.request_id);
  if (sequence == nullptr) sequence = sequences_.FindWaiting(event.request_id);
  if (sequence != nullptr && !sequence->finished) Finish(*sequence, FinishReason::kCancelled);
}

void Core::Handle(const ShutdownAsked& event) {
  if (deployment_.phase() == Deployment::Phase::kStopped) return;
  AbandonEpoch(event.reason);
  EndAll(absl::UnavailableError(absl::StrCat("the request was cut off: ", event.reason)));
  deployment_.Stop(event.reason);
  auto message = std::make_shared<proto::CoordinatorMessage>();
  message->mutable_shutdown()->set_reason(event.reason);
  while (members_.size() > 0) {
    const int64_t id = members_.by_id().begin()->first;
    if (options_.in_fleet) {
      members_.Remove(id);
      continue;
    }
    actions_.sends.push_back({id, message});
    actions_.disconnects.push_back({id, absl::OkStatus()});
    members_.Remove(id);
  }
}

absl::Status Core::OnMessage(const proto::WorkerMessage& message, Member& member) {
  switch (message.message_case()) {
    case proto::WorkerMessage::kLoadProgress:
      return deployment_.OnLoadProgress(now_, message.load_progress(), member);
    case proto::WorkerMessage::kLoadResult:
      return OnLoadResult(message.load_result(), member);
    case proto::WorkerMessage::kStepResult:
      return OnStepResult(message.step_result(), member);
    case proto::WorkerMessage::kAdapterResult:
      return OnAdapterResult(message.adapter_result(), member);
    default:
      return OnStepFailure(message.step_failure(), member);
  }
}

absl::Status Core::OnLoadResult(const proto::LoadResult& result, Member& member) {
  if (result.code() == 0) BARN_RETURN_IF_ERROR(adapters_.CheckLoaded(member.id));
  const bool was_ready = deployment_.ready();
  BARN_RETURN_IF_ERROR(deployment_.OnLoadResult(now_, result, member, members_));
  if (was_ready || !deployment_.ready()) return absl::OkStatus();
  for (const int64_t id : deployment_.stage_workers()) members_.Find(id)->time.Begin(now_);
  Resume();
  return absl::OkStatus();
}

absl::Status Core::OnStepResult(const proto::StepResult& result, Member& member) {
  if (result.step_id() != member.steps_answered + 1 || result.step_id() > steps_sent_) {
    return absl::InvalidArgumentError(absl::StrFormat("a result for step %d after step %d of %d", result.step_id(),
                                                      member.steps_answered, steps_sent_));
  }
  if (!IsCount(result.compute_us()) || !IsCount(result.wait_us()) || !IsCount(result.expert_bytes_read())) {
    return absl::InvalidArgumentError(absl::StrFormat("step %d: a counter is out of bounds", result.step_id()));
  }
  ++member.steps_answered;
  member.time.Add(result.compute_us(), result.wait_us());
  counters_.expert_bytes_read += result.expert_bytes_read();
  if (member.stage + 1 < deployment_.stages() || member.rank > 0) {
    if (result.sequences_size() == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat("step %d: results from rank %d of stage %d of %d",
                                                      result.step_id(), member.rank, member.stage,
                                                      deployment_.stages()));
  }
  auto matched = MatchResults(in_flight_.front(), result, options_.vocabulary);
  if (!matched.ok()) {
    return absl::InvalidArgumentError(absl::StrFormat("step %d: %s", result.step_id(), matched.status().message()));
  }
  const BatchStep step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.prompt_rows == 0) step_cost_.Observe(step.decoding_rows, result.compute_us());
  ApplyStep(step, *matched);
  return absl::OkStatus();
}

void Core::ApplyStep(const BatchStep& step, const std::vector<const proto::SequenceResult*>& results) {
  ++counters_.steps;
  times_.Add(step.decoding_rows, step.prompt_rows, now_ - std::max(step.sent, last_result_));
  last_result_ = now_;
  for (size_t i = 0; i < step.slices.size(); ++i) {
    const StepSlice& slice = step.slices[i];
    Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
    --sequence.steps_in_flight;
    const auto drafted = static_cast<int64_t>(slice.draft.size());
    sequence.computed = slice.first_position + slice.rows - drafted;
    if (sequence.finished) {
      if (sequence.steps_in_flight == 0) sequences_.Release(sequence.id);
      continue;
    }
    const int64_t prompt_rows =
        std::min(slice.first_position + slice.rows, sequence.prompt_tokens) - slice.first_position;
    counters_.prompt_tokens += std::max<int64_t>(0, prompt_rows);
    const int64_t generated = sequence.generated();
    const int64_t computed = sequence.computed;
    const FinishReason reason = ApplyResult(slice, results[i], options_.end_ids, sequence, UpdateOf(slice.sequence_id));
    counters_.generated_tokens += std::max<int64_t>(0, sequence.generated() - generated);
    if (sequence.generated() > generated) sequence.losses = 0;
    if (drafted > 0) {
      counters_.draft_tokens += drafted;
      counters_.draft_accepted_tokens += sequence.computed - computed;
      sequences_.Advance(sequence, sequence.computed);  // Guesses that came true.
    }
    sequences_.LeaveShared(sequence);
    if (reason != FinishReason::kNone) Finish(sequence, reason);
  }
}

absl::Status Core::OnStepFailure(const proto::StepFailure& failure, const Member& member) {
  if (!deployment_.ready()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a step failed while loading: %s", failure.error().substr(0, kErrorBytesMax)));
  }
  AbandonEpoch(absl::StrFormat("%s failed at step %d: %s", Describe(member), failure.step_id(),
                               failure.error().substr(0, kErrorBytesMax)));
  return absl::OkStatus();
}

void Core::WatchTime() {
  const absl::Duration lease = options_.in_fleet ? absl::InfiniteDuration() : options_.lease;
  for (int64_t id : members_.Expired(now_, lease)) {
    DropAndDisconnect(id, absl::DeadlineExceededError(absl::StrFormat(
                              "no message for %s", absl::FormatDuration(now_ - members_.Find(id)->heard))));
  }
  for (auto& [id, member] : members_.by_id()) member.time.Sample(now_);
  if (now_ >= next_deadline_) EndLate();
  if (now_ >= recover_until_) {
    recover_until_ = absl::InfiniteFuture();
    EndAll(absl::UnavailableError(absl::StrFormat("the request was cut off, and %s later there is no new plan: %s",
                                                  absl::FormatDuration(options_.recovery_max),
                                                  deployment_.Reason(members_))));
  }
  const bool loading = deployment_.phase() == Deployment::Phase::kLoading;
  const bool overdue = !in_flight_.empty() && now_ - in_flight_.front().sent > options_.step_deadline;
  if (!loading && !overdue) return;
  for (int64_t id : std::vector<int64_t>(deployment_.stage_workers())) {
    const Member& member = *members_.Find(id);
    if (loading && !member.loaded && now_ - member.load_heard > options_.load_stall_max) {
      return DropAndDisconnect(
          id, absl::DeadlineExceededError(
                  absl::StrFormat("no progress of loading for %s", absl::FormatDuration(options_.load_stall_max))));
    }
  }
  if (overdue) DropSilent();
}

// The first stage that has not answered is the one that all later ones wait for. Its ranks wait for one another, so
// nobody can tell which of them hangs; whoever lives comes back.
void Core::DropSilent() {
  const absl::Status reason = absl::DeadlineExceededError(absl::StrFormat(
      "no answer to step %d within %s", in_flight_.front().id, absl::FormatDuration(options_.step_deadline)));
  const int64_t step = in_flight_.front().id;
  int stage = -1;
  std::vector<int64_t> all_silent;
  for (int64_t id : deployment_.stage_workers()) {
    const Member* member = members_.Find(id);
    const bool silent = member != nullptr && member->steps_answered < step;
    if (silent && (stage < 0 || member->stage == stage)) {
      stage = stage < 0 ? member->stage : stage;
      all_silent.push_back(id);
    }
  }
  for (int64_t id : all_silent) DropAndDisconnect(id, reason);
}

void Core::FillPipeline() {
  if (!deployment_.ready()) return;
  sequences_.Admit(options_.running_max);
  const BatchLimits limits{.step_tokens_max = options_.step_tokens_max,
                           .stages = deployment_.stages(),
                           .vocabulary = options_.vocabulary,
                           .embedding_floats = options_.embedding_floats,
                           .times = &times_,
                           .stall_max = options_.stall_max,
                           .draft_cost = options_.draft ? &step_cost_ : nullptr};
  while (static_cast<int>(in_flight_.size()) < deployment_.stages()) {
    auto message = std::make_shared<proto::CoordinatorMessage>();
    BatchStep step = BuildStep(limits, steps_sent_ + 1, sequences_, *message->mutable_step());
    if (step.slices.empty()) return;
    SendStep(std::move(step), std::move(message));
  }
  if (deployment_.stages() == 1 && in_flight_.size() == 1) {
    auto message = std::make_shared<proto::CoordinatorMessage>();
    BatchStep step =
        BuildFollowingStep(limits, steps_sent_ + 1, in_flight_.front(), sequences_, *message->mutable_step());
    if (!step.slices.empty()) SendStep(std::move(step), std::move(message));
  }
}

void Core::SendStep(BatchStep step, std::shared_ptr<proto::CoordinatorMessage> message) {
  step.sent = now_;
  step_rows_.Add(static_cast<double>(step.decoding_rows + step.prompt_rows));
  for (const StepSlice& slice : step.slices) {
    const auto arrived = arrived_.find(slice.sequence_id);
    if (arrived == arrived_.end()) continue;
    queue_wait_seconds_.Add(absl::ToDoubleSeconds(now_ - arrived->second));
    arrived_.erase(arrived);
  }
  ++steps_sent_;
  message->mutable_step()->set_epoch(deployment_.epoch());
  for (int64_t id : deployment_.stage_workers()) actions_.sends.push_back({id, message});
  in_flight_.push_back(std::move(step));
}

RequestUpdate& Core::UpdateOf(int64_t request_id) {
  for (RequestUpdate& update : actions_.updates) {
    if (update.request_id == request_id) return update;
  }
  RequestUpdate& update = actions_.updates.emplace_back();
  update.request_id = request_id;
  if (const Sequence* sequence = sequences_.FindRunning(request_id); sequence != nullptr) {
    update.prompt_tokens_done = std::min(sequence->computed, sequence->prompt_tokens);
  }
  return update;
}

void Core::Finish(Sequence& sequence, FinishReason reason, absl::Status status) {
  RequestUpdate& update = UpdateOf(sequence.id);
  update.finish = reason;
  if (reason == FinishReason::kError) ++counters_.requests_failed;
  if (last_end_ > absl::InfinitePast()) end_interval_ += (now_ - last_end_ - end_interval_) / 16;
  last_end_ = now_;
  update.status = std::move(status);
  sequence.finished = true;
  arrived_.erase(sequence.id);
  if (!sequence.running) {
    sequences_.RemoveWaiting(sequence.id);
  } else if (sequence.steps_in_flight == 0) {
    sequences_.Release(sequence.id);
  }
}

void Core::DropMember(int64_t worker_id, const std::string& reason) {
  const Member* member = members_.Find(worker_id);
  if (member == nullptr) return;
  const bool needed = member->stage >= 0 && deployment_.running();
  const std::string text = absl::StrCat(Describe(*member), " was lost: ", reason);
  members_.Remove(worker_id);
  deployment_.MembershipChanged();
  if (needed) AbandonEpoch(text);
}

void Core::DropAndDisconnect(int64_t worker_id, const absl::Status& reason) {
  actions_.disconnects.push_back({worker_id, reason});
  DropMember(worker_id, std::string(reason.message()));
}

}  // namespace barn
