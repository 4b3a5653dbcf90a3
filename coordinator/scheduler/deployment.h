#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/core_options.h"
#include "coordinator/scheduler/event.h"
#include "coordinator/scheduler/members.h"
#include "coordinator/scheduler/worker_memory.h"
#include "sharding/plan.h"

namespace barn {

// Who holds what, and how far that is. Every attempt to place the model is a new epoch; what workers say of an older
// epoch is void.
class Deployment {
 public:
  enum class Phase {
    kUnloaded,  // Nobody wants it to run.
    kWaiting,   // For workers to join.
    kRefused,   // The plan did not fit or a load failed; waits for a change of membership or for the time to retry.
    kLoading,
    kReady,
    kStopped,
  };

  Deployment(const CoreOptions& options, Planner planner)
      : options_(options),
        planner_(std::move(planner)),
        wanted_(!options.in_fleet),
        phase_(wanted_ ? Phase::kWaiting : Phase::kUnloaded) {}

  // Whether TryBegin may begin; what runs already goes on.
  void SetWanted(bool wanted) { wanted_ = wanted; }
  // Workers' memory that other models take; another amount is a reason to try again.
  void SetMemoryTaken(MemoryByWorker taken) {
    retry_ = retry_ || taken != taken_;
    taken_ = std::move(taken);
  }
  // Whether there is a plan if other models take so much. The error is that of the planner.
  absl::Status Fits(const Members& members, const MemoryByWorker& taken) const {
    return FindPlan(members, taken).status();
  }
  // What the plan takes of each of its workers; empty unless it runs.
  MemoryByWorker MemoryUse() const;
  // The epoch is over, and the workers forget their slices.
  void Unload(Members& members, std::vector<SendToWorker>& sends);

  // Starts an epoch if there are workers for it and a reason to try: sends the loads. True when it did.
  bool TryBegin(absl::Time now, Members& members, std::vector<SendToWorker>& sends);

  // Both expect the current epoch and a member with a stage. InvalidArgument: the message makes no sense.
  absl::Status OnLoadProgress(absl::Time now, const proto::LoadProgress& progress, Member& member);
  absl::Status OnLoadResult(absl::Time now, const proto::LoadResult& result, Member& member, const Members& members);

  // The epoch is over; the next TryBegin may start another.
  void Abandon(std::string reason, Members& members);
  // Another set of workers may fit what was refused.
  void MembershipChanged() { retry_ = true; }
  void Stop(std::string reason);

  Phase phase() const { return phase_; }
  bool ready() const { return phase_ == Phase::kReady; }
  bool running() const { return phase_ == Phase::kReady || phase_ == Phase::kLoading; }
  int64_t epoch() const { return epoch_; }
  const ShardPlan& plan() const { return plan_; }
  // Worker id of each rank of each stage, in the plan's order.
  const std::vector<int64_t>& stage_workers() const { return stage_workers_; }
  int stages() const { return stage_workers_.empty() ? 0 : static_cast<int>(plan_.stages.size()); }
  // Longest prompt plus answer under the current plan.
  int64_t sequence_tokens_max() const;

  // Why it is not ready, for people; empty when it is.
  std::string Reason(const Members& members) const;
  // Not OK while no further progress is to be expected without a change from outside.
  absl::Status refusal() const {
    return phase_ == Phase::kRefused && retry_at_ == absl::InfiniteFuture() ? refusal_ : absl::OkStatus();
  }

 private:
  struct Placement {
    ShardPlan plan;
    std::vector<int64_t> workers;  // Of each rank of each stage.
  };
  absl::StatusOr<Placement> FindPlan(const Members& members, const MemoryByWorker& taken) const;
  // `chosen`: by name. ResourceExhausted: it does not fit there.
  absl::StatusOr<Placement> PlanOn(const std::vector<const Member*>& chosen, const MemoryByWorker& taken) const;
  void SendLoads(absl::Time now, Members& members, std::vector<SendToWorker>& sends);
  std::shared_ptr<proto::CoordinatorMessage> LoadMessage(int stage, int rank, const Members& members) const;
  int64_t WorkerOf(int stage, int rank) const;
  void Refuse(absl::Status status, absl::Time retry_at);

  const CoreOptions& options_;
  Planner planner_;
  bool wanted_;
  Phase phase_;
  MemoryByWorker taken_;
  int64_t epoch_ = 0;
  ShardPlan plan_;
  std::vector<int64_t> stage_workers_;
  absl::Status refusal_;
  absl::Time retry_at_ = absl::InfiniteFuture();
  bool retry_ = false;
  std::string last_failure_;
};

}  // namespace barn
