#include "worker/exchange/in_process_collective.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace barn {
namespace {

constexpr absl::Duration kStopPoll = absl::Milliseconds(5);

// Where the ranks meet: everyone brings its rows, copies the others' columns, and leaves when all have copied.
class Meeting {
 public:
  explicit Meeting(int ranks) : rows_(ranks) {}

  int ranks() const { return static_cast<int>(rows_.size()); }

  absl::Status Gather(int rank, const SharedRows& mine, const WaitBounds& wait) {
    absl::MutexLock lock(&mutex_);
    rows_[rank] = mine;
    ++brought_;
    const int64_t full = (round_of(brought_ - 1) + 1) * ranks();
    absl::Status status = Await(brought_, full, rank, wait);
    if (status.ok()) {
      status = CopyOthers(rank, mine);
    }
    ++copied_;
    changed_.SignalAll();
    if (status.ok()) {
      status = Await(copied_, full, rank, wait);
    }
    if (!status.ok()) {
      failed_ = true;
      changed_.SignalAll();
    }
    return status;
  }

  void Leave() {
    absl::MutexLock lock(&mutex_);
    failed_ = true;
    changed_.SignalAll();
  }

 private:
  int64_t round_of(int64_t count) const { return count / ranks(); }

  absl::Status Await(const int64_t& count, int64_t full, int rank, const WaitBounds& wait)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    changed_.SignalAll();
    while (count < full) {
      if (failed_) {
        return absl::UnavailableError(absl::StrFormat("rank %d: another rank is gone", rank));
      }
      if (wait.stop.stop_requested()) {
        return absl::AbortedError(absl::StrFormat("rank %d: the epoch ended", rank));
      }
      if (absl::Now() >= wait.deadline) {
        return absl::DeadlineExceededError(absl::StrFormat("rank %d: the other ranks did not come", rank));
      }
      changed_.WaitWithDeadline(&mutex_, std::min(wait.deadline, absl::Now() + kStopPoll));
    }
    return absl::OkStatus();
  }

  absl::Status CopyOthers(int rank, const SharedRows& mine) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int other = 0; other < ranks(); ++other) {
      const SharedRows& theirs = rows_[other];
      if (theirs.rows != mine.rows ||
          !std::equal(theirs.bounds.begin(), theirs.bounds.end(), mine.bounds.begin(), mine.bounds.end())) {
        return absl::DataLossError(absl::StrFormat("rank %d shares %d rows of %d, rank %d wants %d of %d", other,
                                                   theirs.rows, theirs.bounds.back(), rank, mine.rows,
                                                   mine.bounds.back()));
      }
      for (int64_t row = 0; row < mine.rows && other != rank; ++row) {
        std::copy(theirs.data + row * theirs.stride + mine.bounds[other],
                  theirs.data + row * theirs.stride + mine.bounds[other + 1],
                  mine.data + row * mine.stride + mine.bounds[other]);
      }
    }
    return absl::OkStatus();
  }

  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::vector<SharedRows> rows_ ABSL_GUARDED_BY(mutex_);
  int64_t brought_ ABSL_GUARDED_BY(mutex_) = 0;  // Over all rounds.
  int64_t copied_ ABSL_GUARDED_BY(mutex_) = 0;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;
};

class InProcessCollective final : public Collective {
 public:
  InProcessCollective(std::shared_ptr<Meeting> meeting, int rank) : meeting_(std::move(meeting)), rank_(rank) {}
  ~InProcessCollective() override { meeting_->Leave(); }

  int rank() const override { return rank_; }
  int ranks() const override { return meeting_->ranks(); }

  absl::Status AllGather(const SharedRows& shared, const WaitBounds& wait) override {
    if (status_.ok()) {
      status_ = meeting_->Gather(rank_, shared, wait);
    }
    return status_;
  }

 private:
  const std::shared_ptr<Meeting> meeting_;
  const int rank_;
  absl::Status status_;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> MakeInProcessCollectives(int ranks) {
  const auto meeting = std::make_shared<Meeting>(ranks);
  std::vector<std::unique_ptr<Collective>> collectives;
  for (int rank = 0; rank < ranks; ++rank) {
    collectives.push_back(std::make_unique<InProcessCollective>(meeting, rank));
  }
  return collectives;
}

}  // namespace barn
