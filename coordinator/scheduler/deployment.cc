#include "coordinator/scheduler/deployment.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr size_t kErrorBytesMax = 500;
constexpr int64_t kBytesMax = int64_t{1} << 50;

// The planner is ours, but what follows from a wrong plan would be hard to see: every rank on a node of its own,
// layers without a gap, and room for at least one block.
absl::Status CheckPlan(const ShardPlan& plan, size_t nodes) {
  std::set<int> used;
  int64_t next_layer = 0;
  for (const PlanStage& stage : plan.stages) {
    bool consistent = !stage.ranks.empty() && stage.first_layer == next_layer && stage.last_layer >= stage.first_layer;
    for (const PlanRank& rank : stage.ranks) {
      consistent = consistent && rank.node >= 0 && rank.node < static_cast<int>(nodes) && used.insert(rank.node).second;
    }
    if (!consistent) {
      return absl::InternalError(
          absl::StrFormat("the plan's stage that begins with layer %d is inconsistent", stage.first_layer));
    }
    next_layer = stage.last_layer;
  }
  if (plan.stages.empty() || plan.kv_blocks <= 0 || plan.kv_block_tokens <= 0) {
    return absl::InternalError(absl::StrFormat("the plan has %d stages and %d KV blocks of %d tokens",
                                               plan.stages.size(), plan.kv_blocks, plan.kv_block_tokens));
  }
  return absl::OkStatus();
}

WorkerMemory MemoryLeft(const Member& member, const MemoryByWorker& taken) {
  WorkerMemory left{.bytes = member.hello.memory_bytes(), .host_bytes = member.hello.host_memory_bytes()};
  if (const auto found = taken.find(member.id); found != taken.end()) left -= found->second;
  return left;
}

bool MayPass(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded ||
         code == absl::StatusCode::kAborted;
}

}  // namespace

bool Deployment::TryBegin(absl::Time now, Members& members, std::vector<SendToWorker>& sends) {
  if (running() || phase_ == Phase::kStopped || !wanted_) return false;
  if (members.size() < options_.workers_expected) {
    phase_ = Phase::kWaiting;
    return false;
  }
  if (phase_ == Phase::kRefused && !retry_ && now < retry_at_) return false;
  retry_ = false;
  absl::StatusOr<Placement> placement = FindPlan(members, taken_);
  if (!placement.ok()) {
    Refuse(placement.status(), absl::InfiniteFuture());
    return false;
  }
  plan_ = std::move(placement->plan);
  stage_workers_ = std::move(placement->workers);
  SendLoads(now, members, sends);
  return true;
}

// The first workers to join carry the model; when it does not fit on so many, spares are added. Where other models take
// memory, it may also fit on those alone that they leave the most.
absl::StatusOr<Deployment::Placement> Deployment::FindPlan(const Members& members, const MemoryByWorker& taken) const {
  std::vector<const Member*> joined;
  for (const auto& [id, member] : members.by_id()) joined.push_back(&member);
  absl::Status first_refusal = absl::ResourceExhaustedError("no worker has joined");
  const auto expected = static_cast<size_t>(options_.workers_expected);
  for (size_t count = expected; count <= joined.size(); ++count) {
    absl::StatusOr<Placement> placement = PlanOn({joined.begin(), joined.begin() + count}, taken);
    if (placement.ok() || absl::IsInternal(placement.status())) return placement;
    if (count == expected) first_refusal = placement.status();
  }
  if (taken.empty()) return first_refusal;
  std::stable_sort(joined.begin(), joined.end(), [&](const Member* a, const Member* b) {
    return MemoryLeft(*a, taken).bytes > MemoryLeft(*b, taken).bytes;
  });
  for (size_t count = std::min(joined.size(), expected); count >= 1; --count) {
    absl::StatusOr<Placement> placement = PlanOn({joined.begin(), joined.begin() + count}, taken);
    if (placement.ok()) return placement;
  }
  return first_refusal;
}

// The pipeline follows the workers' names, so that a worker that comes back finds the slice that it has cached.
absl::StatusOr<Deployment::Placement> Deployment::PlanOn(const std::vector<const Member*>& workers,
                                                         const MemoryByWorker& taken) const {
  std::vector<const Member*> chosen = workers;
  std::sort(chosen.begin(), chosen.end(), [](const Member* a, const Member* b) {
    return std::pair(a->hello.name(), a->id) < std::pair(b->hello.name(), b->id);
  });
  std::vector<PlanNode> nodes;
  for (const Member* member : chosen) {
    const WorkerMemory left = MemoryLeft(*member, taken);
    if (left.bytes <= 0) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("other models take all memory of worker '%s'", member->hello.name()));
    }
    const RankLink link = ParseRankLink(member->hello.rank_address());
    nodes.push_back({.name = member->hello.name(),
                     .memory_bytes = left.bytes,
                     .threads = member->hello.threads(),
                     .memory_domain = member->hello.memory_domain(),
                     .gpu = !link.device.empty(),
                     .host_memory_bytes = std::max<int64_t>(left.host_bytes, 0),
                     .link = link});
  }
  Placement placement;
  BARN_ASSIGN_OR_RETURN(placement.plan, planner_(nodes));
  BARN_RETURN_IF_ERROR(CheckPlan(placement.plan, nodes.size()));
  for (const PlanStage& stage : placement.plan.stages) {
    for (const PlanRank& rank : stage.ranks) placement.workers.push_back(chosen[rank.node]->id);
  }
  return placement;
}

MemoryByWorker Deployment::MemoryUse() const {
  MemoryByWorker use;
  if (!running()) return use;
  size_t worker = 0;
  for (const PlanStage& stage : plan_.stages) {
    for (const PlanRank& rank : stage.ranks)
      use[stage_workers_[worker++]] += {.bytes = rank.total_bytes(), .host_bytes = rank.host_bytes};
  }
  return use;
}

void Deployment::Unload(Members& members, std::vector<SendToWorker>& sends) {
  if (phase_ == Phase::kStopped) return;
  for (auto& [id, member] : members.by_id()) {
    if (member.loaded_epoch == 0) continue;
    auto message = std::make_shared<proto::CoordinatorMessage>();
    message->mutable_unload()->set_epoch(std::exchange(member.loaded_epoch, 0));
    sends.push_back({id, std::move(message)});
  }
  phase_ = Phase::kUnloaded;
  wanted_ = false;
  last_failure_.clear();
  stage_workers_.clear();
  members.ClearStages();
}

void Deployment::SendLoads(absl::Time now, Members& members, std::vector<SendToWorker>& sends) {
  members.ClearStages();
  epoch_ = options_.next_epoch ? options_.next_epoch() : epoch_ + 1;
  phase_ = Phase::kLoading;
  for (auto& [id, member] : members.by_id()) {
    if (member.loaded_epoch == 0 || std::count(stage_workers_.begin(), stage_workers_.end(), id) > 0) continue;
    auto message = std::make_shared<proto::CoordinatorMessage>();
    message->mutable_unload()->set_epoch(std::exchange(member.loaded_epoch, 0));
    sends.push_back({id, std::move(message)});
  }
  for (int stage = 0; stage < stages(); ++stage) {
    const PlanStage& planned = plan_.stages[stage];
    for (int rank = 0; rank < static_cast<int>(planned.ranks.size()); ++rank) {
      Member& member = *members.Find(WorkerOf(stage, rank));
      member.stage = stage;
      member.rank = rank;
      member.first_layer = planned.first_layer;
      member.last_layer = planned.last_layer;
      member.load_bytes_total = planned.ranks[rank].weights_bytes + planned.ranks[rank].host_bytes;
      member.load_heard = now;
      member.loaded_epoch = epoch_;
      sends.push_back({member.id, LoadMessage(stage, rank, members)});
    }
  }
}

int64_t Deployment::WorkerOf(int stage, int rank) const {
  size_t index = rank;
  for (int before = 0; before < stage; ++before) index += plan_.stages[before].ranks.size();
  return stage_workers_[index];
}

std::shared_ptr<proto::CoordinatorMessage> Deployment::LoadMessage(int stage, int rank, const Members& members) const {
  const auto hello = [&](int of_stage, int of_rank) -> const proto::Hello& {
    return members.by_id().at(WorkerOf(of_stage, of_rank)).hello;
  };
  const PlanStage& planned = plan_.stages[stage];
  auto message = std::make_shared<proto::CoordinatorMessage>();
  proto::LoadRequest& load = *message->mutable_load();
  load.set_epoch(epoch_);
  for (const std::string& part : options_.parts) load.add_parts(part);
  load.set_stage(stage);
  load.set_stages(stages());
  load.set_first_layer(planned.first_layer);
  load.set_last_layer(planned.last_layer);
  load.set_kv_blocks(plan_.kv_blocks);
  load.set_kv_block_tokens(plan_.kv_block_tokens);
  load.set_kv_type(std::string(KvTypeName(plan_.kv)));
  load.set_step_tokens_max(options_.step_tokens_max);
  load.set_host_expert_layers(planned.host_expert_layers);
  if (stage + 1 < stages()) load.set_next_exchange_address(hello(stage + 1, 0).exchange_address());
  load.set_exchange_token(options_.exchange_token);
  load.set_context_tokens(sequence_tokens_max());
  load.set_deterministic(options_.deterministic);
  load.set_deployment(options_.deployment);
  const auto ranks = static_cast<int>(planned.ranks.size());
  load.set_rank(rank);
  load.set_ranks(ranks);
  for (int one = 0; one < ranks && ranks > 1; ++one) load.add_rank_addresses(hello(stage, one).rank_address());
  return message;
}

absl::Status Deployment::OnLoadProgress(absl::Time now, const proto::LoadProgress& progress, Member& member) {
  if (progress.bytes_done() < 0 || progress.bytes_done() > progress.bytes_total() ||
      progress.bytes_total() > kBytesMax || !std::isfinite(progress.bytes_per_second())) {
    return absl::InvalidArgumentError(absl::StrFormat("LoadProgress says %d of %d bytes, %f per second",
                                                      progress.bytes_done(), progress.bytes_total(),
                                                      progress.bytes_per_second()));
  }
  member.load_heard = now;
  member.load_bytes_done = progress.bytes_done();
  member.load_bytes_total = progress.bytes_total();
  member.load_bytes_per_second = progress.bytes_per_second();
  return absl::OkStatus();
}

absl::Status Deployment::OnLoadResult(absl::Time now, const proto::LoadResult& result, Member& member,
                                      const Members& members) {
  if (phase_ == Phase::kRefused) return absl::OkStatus();  // Another worker's load failed first.
  if (phase_ != Phase::kLoading || member.loaded) {
    return absl::InvalidArgumentError(absl::StrFormat("a second LoadResult for epoch %d", epoch_));
  }
  if (result.code() != 0) {
    const auto code = static_cast<absl::StatusCode>(result.code());
    Refuse(absl::Status(code, absl::StrFormat("worker %d '%s' could not load layers %d to %d: %s", member.id,
                                              member.hello.name(), member.first_layer, member.last_layer,
                                              result.error().substr(0, kErrorBytesMax))),
           MayPass(code) ? now + options_.load_retry_after : absl::InfiniteFuture());
    return absl::OkStatus();
  }
  member.loaded = true;
  member.load_bytes_done = member.load_bytes_total;
  const bool all = std::all_of(stage_workers_.begin(), stage_workers_.end(),
                               [&](int64_t id) { return members.by_id().at(id).loaded; });
  if (all) {
    phase_ = Phase::kReady;
    last_failure_.clear();
  }
  return absl::OkStatus();
}

void Deployment::Refuse(absl::Status status, absl::Time retry_at) {
  refusal_ = std::move(status);
  retry_at_ = retry_at;
  phase_ = Phase::kRefused;
}

void Deployment::Abandon(std::string reason, Members& members) {
  if (phase_ == Phase::kStopped) return;
  phase_ = Phase::kWaiting;
  last_failure_ = std::move(reason);
  stage_workers_.clear();
  members.ClearStages();
}

void Deployment::Stop(std::string reason) {
  phase_ = Phase::kStopped;
  last_failure_ = std::move(reason);
}

int64_t Deployment::sequence_tokens_max() const {
  return std::min(options_.sequence_tokens_max, plan_.kv_blocks * plan_.kv_block_tokens);
}

std::string Deployment::Reason(const Members& members) const {
  const std::string after = last_failure_.empty() ? "" : absl::StrCat("; before that: ", last_failure_);
  switch (phase_) {
    case Phase::kUnloaded:
      return "not loaded";
    case Phase::kReady:
      return "";
    case Phase::kStopped:
      return last_failure_;
    case Phase::kRefused:
      return std::string(refusal_.message());
    case Phase::kWaiting:
      return absl::StrFormat("waiting for %d of %d workers%s", std::max(0, options_.workers_expected - members.size()),
                             options_.workers_expected, after);
    case Phase::kLoading:
      break;
  }
  double done = 0, total = 0;
  for (int64_t id : stage_workers_) {
    done += static_cast<double>(members.by_id().at(id).load_bytes_done);
    total += static_cast<double>(members.by_id().at(id).load_bytes_total);
  }
  return absl::StrFormat("loading %.0f %%%s", total > 0 ? std::floor(done / total * 100) : 0, after);
}

}  // namespace barn
