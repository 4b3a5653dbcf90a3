#include <algorithm>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/scheduler/core.h"

// How requests outlive a plan, and how they end when they do not.

namespace barn {
namespace {

void AddIds(const std::map<int64_t, Sequence>& sequences, const std::function<bool(const Sequence&)>& which,
            std::vector<int64_t>& ids) {
  for (const auto& [id, sequence] : sequences) {
    if (!sequence.finished && which(sequence)) ids.push_back(id);
  }
}

}  // namespace

void Core::EndWhere(const std::function<bool(const Sequence&)>& which,
                    const std::function<absl::Status(const Sequence&)>& status) {
  std::vector<int64_t> ids;
  AddIds(sequences_.running(), which, ids);
  AddIds(sequences_.waiting(), which, ids);
  std::sort(ids.begin(), ids.end());
  for (int64_t id : ids) {
    Sequence* sequence = sequences_.FindRunning(id);
    if (sequence == nullptr) sequence = sequences_.FindWaiting(id);
    Finish(*sequence, FinishReason::kError, status(*sequence));
  }
}

void Core::EndAll(const absl::Status& status) {
  EndWhere([](const Sequence&) { return true; }, [&](const Sequence&) { return status; });
}

void Core::EndLate() {
  EndWhere([&](const Sequence& sequence) { return sequence.deadline <= now_; },
           [&](const Sequence& sequence) {
             return absl::DeadlineExceededError(absl::StrFormat(
                 "the request's %s are over; it had %d of at most %d tokens",
                 absl::FormatDuration(sequence.request.timeout), sequence.generated(), sequence.request.max_tokens));
           });
  next_deadline_ = absl::InfiniteFuture();
  const auto look = [&](const std::map<int64_t, Sequence>& sequences) {
    for (const auto& [id, sequence] : sequences) {
      if (!sequence.finished) next_deadline_ = std::min(next_deadline_, sequence.deadline);
    }
  };
  look(sequences_.running());
  look(sequences_.waiting());
}

void Core::AbandonEpoch(const std::string& reason) {
  for (auto& [id, sequence] : sequences_.running()) ++sequence.losses;
  sequences_.Suspend();
  in_flight_.clear();
  if (options_.recovery_max <= absl::ZeroDuration()) {
    EndAll(absl::UnavailableError(absl::StrCat("the request was cut off: ", reason)));
  }
  EndWhere([&](const Sequence& sequence) { return sequence.losses >= options_.losses_max; },
           [&](const Sequence& sequence) {
             return absl::UnavailableError(absl::StrFormat(
                 "the request was cut off by the loss of %d workers in turn: %s", sequence.losses, reason));
           });
  recover_until_ =
      sequences_.waiting().empty() ? absl::InfiniteFuture() : std::min(recover_until_, now_ + options_.recovery_max);
  // Those that wait for a worker that is gone need not wait on.
  auto message = std::make_shared<proto::CoordinatorMessage>();
  message->mutable_end_epoch()->set_epoch(deployment_.epoch());
  for (int64_t id : deployment_.stage_workers()) {
    if (members_.Find(id) != nullptr && deployment_.running()) actions_.sends.push_back({id, message});
  }
  deployment_.Abandon(reason, members_);
}

void Core::Unload(const absl::Status& reason) {
  sequences_.Suspend();
  in_flight_.clear();
  EndAll(reason);
  recover_until_ = absl::InfiniteFuture();
  deployment_.Unload(members_, actions_.sends);
}

void Core::Resume() {
  recover_until_ = absl::InfiniteFuture();
  const int64_t tokens_max = deployment_.sequence_tokens_max();
  EndWhere([&](const Sequence& sequence) { return sequence.prompt_tokens + sequence.request.max_tokens > tokens_max; },
           [&](const Sequence& sequence) {
             return absl::UnavailableError(absl::StrFormat(
                 "the request was cut off: a worker was lost, and what is left holds %d tokens instead of %d",
                 tokens_max, sequence.prompt_tokens + sequence.request.max_tokens));
           });
  for (const auto& [id, sequence] : sequences_.waiting()) counters_.recovered += sequence.losses > 0 ? 1 : 0;
}

}  // namespace barn
