#include "worker/exchange/nccl_collective.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(2);   // How often exchanges on the way are looked at.
constexpr absl::Duration kPoll = absl::Microseconds(20);  // How often a mark is.
constexpr absl::Duration kJoinPoll = absl::Milliseconds(1);
constexpr absl::Duration kOnWait = absl::Seconds(1);
// A driver takes about 1000 kernels before it makes the host wait, and a layer has 5 or 6 kernels for an exchange.
constexpr int64_t kExchangesPerMark = 16;
constexpr size_t kMarksOnTheWay = 4;
// By so much a rank's columns may exceed an even share (see sharding/rank_cut.h).
constexpr int64_t kUnevenColumnsMax = 64;

int64_t WidestColumns(const SharedRows& shared) {
  int64_t widest = 0;
  for (size_t r = 0; r + 1 < shared.bounds.size(); ++r) {
    widest = std::max(widest, shared.bounds[r + 1] - shared.bounds[r]);
  }
  return widest;
}

// Whether the columns of all ranks are one array that NCCL can fill where it lies.
bool IsOneArray(const SharedRows& shared, int64_t width) {
  for (size_t r = 0; r + 1 < shared.bounds.size(); ++r) {
    if (shared.bounds[r + 1] - shared.bounds[r] != width) return false;
  }
  return shared.rows == 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NcclCollective>> NcclCollective::Join(const NcclLibrary& library, Device& device,
                                                                     const CollectiveOptions& options,
                                                                     const nccl::UniqueId& id) {
  auto joined = absl::WrapUnique(new NcclCollective(library, device, options));
  BARN_ASSIGN_OR_RETURN(joined->pieces_, device.Allocate(options.floats_max + joined->ranks_ * kUnevenColumnsMax));
  BARN_RETURN_IF_ERROR(joined->Connect(options, id));
  joined->watch_ = std::thread([watched = joined.get()] { watched->Watch(); });
  return joined;
}

absl::Status NcclCollective::Connect(const CollectiveOptions& options, const nccl::UniqueId& id) {
  nccl::Config config;
  absl::MutexLock lock(&mutex_);
  nccl::Result result = library_.comm_init_rank_config(&comm_, ranks_, id, rank_, &config);
  wait_ = options.wait;
  for (absl::Time said = absl::InfinitePast(); result == nccl::kInProgress;) {
    BARN_RETURN_IF_ERROR(Look());
    if (absl::Now() - said > kOnWait && options.on_wait != nullptr) {
      options.on_wait();
      said = absl::Now();
    }
    absl::SleepFor(kJoinPoll);
    const nccl::Result asked = library_.comm_get_async_error(comm_, &result);
    if (asked != nccl::kSuccess) result = asked;
  }
  if (result != nccl::kSuccess) return Fail(library_.Error("joining the other ranks", result, comm_));
  return absl::OkStatus();
}

// Destroying a communicator in an orderly way waits for the other ranks, which may be gone.
NcclCollective::~NcclCollective() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    Fail(absl::CancelledError("this rank has left")).IgnoreError();
  }
  if (watch_.joinable()) watch_.join();
}

absl::Status NcclCollective::AllGather(const SharedRows& shared, const WaitBounds& wait) {
  const int64_t width = WidestColumns(shared);
  if (static_cast<int>(shared.bounds.size()) != ranks_ + 1 || shared.rows < 1 || width < 1 ||
      width > pieces_->floats() / ranks_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d ranks share %d rows of up to %d columns each; %d are the most", ranks_, shared.rows, width,
                        pieces_->floats() / ranks_));
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return status_;
    wait_ = wait;
    watched_ = true;
  }
  BARN_RETURN_IF_ERROR(device_.status());
  BARN_RETURN_IF_ERROR(Throttle());
  return IsOneArray(shared, width) ? Put(shared.data, width) : GatherInPieces(shared, width);
}

// As many rows at a time as there is room for. Ranks with fewer columns than others send what happens to lie behind.
absl::Status NcclCollective::GatherInPieces(const SharedRows& shared, int64_t width) {
  const int64_t rows_each = std::min(shared.rows, pieces_->floats() / (width * ranks_));
  for (int64_t first = 0; first < shared.rows; first += rows_each) {
    const int64_t rows = std::min(rows_each, shared.rows - first);
    const auto columns = [&](int rank) {
      return Tensor{.data = shared.data + first * shared.stride + shared.bounds[rank],
                    .rows = rows,
                    .cols = shared.bounds[rank + 1] - shared.bounds[rank],
                    .stride = shared.stride};
    };
    const auto piece = [&](int rank) {
      const int64_t cols = shared.bounds[rank + 1] - shared.bounds[rank];
      return Tensor{.data = pieces_->data() + rank * rows * width, .rows = rows, .cols = cols, .stride = cols};
    };
    device_.Copy(columns(rank_), piece(rank_));
    BARN_RETURN_IF_ERROR(Put(pieces_->data(), rows * width));
    for (int other = 0; other < ranks_; ++other) {
      if (other != rank_ && shared.bounds[other + 1] > shared.bounds[other]) device_.Copy(piece(other), columns(other));
    }
  }
  return device_.status();
}

absl::Status NcclCollective::Put(float* received, int64_t count) {
  absl::MutexLock lock(&mutex_);
  if (comm_ == nullptr) return status_;
  nccl::Result result = library_.all_gather(received + rank_ * count, received, static_cast<size_t>(count),
                                            nccl::kFloat32, comm_, device_.stream().handle);
  // Only when it is no longer in progress does the exchange stand on the stream before what comes next.
  while (result == nccl::kInProgress) {
    BARN_RETURN_IF_ERROR(Look());
    const nccl::Result asked = library_.comm_get_async_error(comm_, &result);
    if (asked != nccl::kSuccess) result = asked;
  }
  if (result != nccl::kSuccess) return Fail(library_.Error("an exchange between ranks", result, comm_));
  return absl::OkStatus();
}

absl::Status NcclCollective::Throttle() {
  if (++exchanges_ % kExchangesPerMark != 0) return absl::OkStatus();
  marks_.push_back(device_.Mark());
  if (marks_.size() <= kMarksOnTheWay) return absl::OkStatus();
  const int64_t oldest = marks_.front();
  marks_.pop_front();
  return AwaitMark(oldest);
}

absl::Status NcclCollective::AwaitMark(int64_t mark) {
  while (!device_.Reached(mark)) {
    absl::SleepFor(kPoll);
  }
  absl::MutexLock lock(&mutex_);
  return status_;
}

absl::Status NcclCollective::Finish(const WaitBounds& wait) {
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok() || !watched_) return status_;
    wait_ = wait;
  }
  marks_.clear();
  AwaitMark(device_.Mark()).IgnoreError();
  absl::MutexLock lock(&mutex_);
  watched_ = false;
  return status_;
}

absl::Status NcclCollective::Look() const {
  if (!status_.ok()) return status_;
  if (wait_.stop.stop_requested()) return absl::AbortedError(absl::StrFormat("rank %d: the epoch ended", rank_));
  if (absl::Now() >= wait_.deadline) {
    return absl::DeadlineExceededError(absl::StrFormat("rank %d: the other ranks did not come", rank_));
  }
  nccl::Result result = nccl::kSuccess;
  const nccl::Result asked = library_.comm_get_async_error(comm_, &result);
  if (asked != nccl::kSuccess) result = asked;
  if (result == nccl::kSuccess || result == nccl::kInProgress) return absl::OkStatus();
  return library_.Error("exchanges between ranks", result, comm_);
}

absl::Status NcclCollective::Fail(absl::Status why) {
  if (status_.ok()) status_ = std::move(why);
  nccl::Comm* const comm = std::exchange(comm_, nullptr);
  if (comm != nullptr) library_.comm_abort(comm);
  return status_;
}

void NcclCollective::Watch() {
  absl::MutexLock lock(&mutex_);
  const auto busy = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || (watched_ && comm_ != nullptr); };
  while (true) {
    mutex_.Await(absl::Condition(&busy));
    if (ending_) return;
    if (absl::Status why = Look(); !why.ok()) Fail(std::move(why)).IgnoreError();
    const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || !watched_ || comm_ == nullptr; };
    mutex_.AwaitWithTimeout(absl::Condition(&idle), kLook);
  }
}

}  // namespace barn
