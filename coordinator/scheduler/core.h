#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/adapters.h"
#include "coordinator/scheduler/batcher.h"
#include "coordinator/scheduler/core_options.h"
#include "coordinator/scheduler/deployment.h"
#include "coordinator/scheduler/engine.h"
#include "coordinator/scheduler/event.h"
#include "coordinator/scheduler/members.h"
#include "coordinator/scheduler/sequences.h"

namespace barn {

// The coordinator's brain: who is a member, who holds what, which rows run next, which token was drawn, whose request
// is over. Deterministic: the same history gives the same actions. No clock, no socket, no lock; one thread.
class Core {
 public:
  Core(CoreOptions options, Planner planner);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Takes the events in order, then notices what time has brought (leases, deadlines), then fills the pipeline. Without
  // events it is a tick. `now` never goes back.
  Actions Step(absl::Time now, std::span<const Event> events);

  EngineState State() const;
  bool ready() const { return deployment_.ready(); }
  int64_t steps_in_flight() const { return static_cast<int64_t>(in_flight_.size()); }
  // Not OK while nothing but a change from outside can make it ready: the model does not fit, or a load failed for
  // good.
  absl::Status refusal() const { return deployment_.refusal(); }

  // For a fleet, between two steps. What they want sent goes with the next Step's actions.
  // Whether an epoch may begin; see Deployment::SetWanted and the next two.
  void SetWanted(bool wanted) { deployment_.SetWanted(wanted); }
  void SetMemoryTaken(MemoryByWorker taken) { deployment_.SetMemoryTaken(std::move(taken)); }
  absl::Status Fits(const MemoryByWorker& taken) const { return deployment_.Fits(members_, taken); }
  MemoryByWorker MemoryUse() const { return deployment_.MemoryUse(); }
  // Requests end with `reason`, and the workers forget the model.
  void Unload(const absl::Status& reason);
  bool running() const { return deployment_.running(); }
  int64_t epoch() const { return deployment_.epoch(); }
  // No request runs or waits.
  bool idle() const { return sequences_.running().empty() && sequences_.waiting().empty(); }

  // What holds after every Step; a message that names what is broken. For tests.
  absl::Status CheckInvariants() const;

 private:
  struct Counters {
    int64_t requests = 0;
    int64_t requests_failed = 0;
    int64_t prompt_tokens = 0;
    int64_t generated_tokens = 0;
    int64_t steps = 0;
    int64_t expert_bytes_read = 0;
    int64_t recovered = 0;
    int64_t draft_tokens = 0;
    int64_t draft_accepted_tokens = 0;
  };

  void Handle(const WorkerJoined& event);
  void Handle(const WorkerSaid& event);
  void Handle(const WorkerLost& event);
  void Handle(const RequestSubmitted& event);
  void Handle(const RequestCancelled& event);
  void Handle(const ShutdownAsked& event);
  void Handle(const AdapterAsked& event);
  void Handle(const AdapterDropped& event);

  // Messages of the current epoch from a member that has a stage. InvalidArgument: no working worker sends that.
  absl::Status OnMessage(const proto::WorkerMessage& message, Member& member);
  absl::Status OnLoadResult(const proto::LoadResult& result, Member& member);
  absl::Status OnStepResult(const proto::StepResult& result, Member& member);
  absl::Status OnStepFailure(const proto::StepFailure& failure, const Member& member);
  absl::Status OnAdapterResult(const proto::AdapterResult& result, const Member& member);
  void ApplyStep(const BatchStep& step, const std::vector<const proto::SequenceResult*>& results);

  void SendToStages(std::shared_ptr<const proto::CoordinatorMessage> message);
  // The loads of a new plan are among the sends from `first_send` on.
  void BeginAdapters(size_t first_send);
  // A worker cannot have it: requests that use it end, and it leaves.
  void DropAdapter(int64_t id, const absl::Status& reason);
  // Those that leave and that nobody uses any more.
  void UnloadAdapters();

  void WatchTime();
  void DropSilent();
  void FillPipeline();
  void SendStep(BatchStep step, std::shared_ptr<proto::CoordinatorMessage> message);
  absl::Status CheckSubmission(const RequestSubmitted& event) const;
  // ResourceExhausted when too many wait; says when to come again.
  absl::Status CheckQueue(const Tenant& tenant) const;
  RequestUpdate& UpdateOf(int64_t request_id);
  // The caller's last update; a sequence that runs stays until its steps in flight have returned.
  void Finish(Sequence& sequence, FinishReason reason, absl::Status status = absl::OkStatus());
  // Ends the requests of which `which` is true, with an error.
  void EndWhere(const std::function<bool(const Sequence&)>& which,
                const std::function<absl::Status(const Sequence&)>& status);
  void EndAll(const absl::Status& status);
  void EndLate();
  // The plan is void. Requests wait for the next one, which computes their tokens again.
  void AbandonEpoch(const std::string& reason);
  // A plan is there. Who does not fit it ends.
  void Resume();
  // The member is no longer one.
  void DropMember(int64_t worker_id, const std::string& reason);
  void DropAndDisconnect(int64_t worker_id, const absl::Status& reason);

  const CoreOptions options_;
  Members members_;
  Deployment deployment_;
  Sequences sequences_;
  Adapters adapters_;
  std::deque<BatchStep> in_flight_;  // Oldest first.
  StepTimes times_;                  // Of the current epoch.
  StepCost step_cost_;               // For guesses.
  absl::Time last_result_ = absl::InfinitePast();
  int64_t steps_sent_ = 0;  // Of the current epoch; also the last step id.
  Counters counters_;
  absl::Duration end_interval_ = absl::Seconds(1);  // Between two requests that end, on average lately.
  absl::Time last_end_ = absl::InfinitePast();
  HistogramPicture step_rows_;
  HistogramPicture queue_wait_seconds_;
  std::map<int64_t, absl::Time> arrived_;              // Requests of which no step has had rows.
  absl::Time next_deadline_ = absl::InfiniteFuture();  // No request's is earlier.
  absl::Time recover_until_ = absl::InfiniteFuture();  // When those that wait for a new plan give up.
  absl::Time now_ = absl::InfinitePast();
  Actions actions_;  // Of the Step that runs.
};

}  // namespace barn
