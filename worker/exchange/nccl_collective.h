#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "kernels/device.h"
#include "worker/exchange/collective.h"
#include "worker/exchange/nccl_library.h"
#include "worker/exchange/rank_port.h"

namespace barn {

// The ranks of one epoch on GPUs. Exchanges lie between the device's own work, in its order; the host waits for none of
// them. A thread watches those that run: when their bounds are over, or NCCL reports an error, it aborts the
// communicator, which ends the kernels that wait for other ranks, and so whoever waits for the device.
class NcclCollective final : public Collective {
 public:
  // Returns when all ranks have joined under the id. options: checked.
  static absl::StatusOr<std::unique_ptr<NcclCollective>> Join(const NcclLibrary& library, Device& device,
                                                              const CollectiveOptions& options,
                                                              const nccl::UniqueId& id);
  ~NcclCollective() override;

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }
  absl::Status AllGather(const SharedRows& shared, const WaitBounds& wait) override;
  absl::Status Finish(const WaitBounds& wait) override;

 private:
  NcclCollective(const NcclLibrary& library, Device& device, const CollectiveOptions& options)
      : library_(library), device_(device), rank_(options.rank), ranks_(static_cast<int>(options.addresses.size())) {}

  absl::Status Connect(const CollectiveOptions& options, const nccl::UniqueId& id);
  absl::Status GatherInPieces(const SharedRows& shared, int64_t width);
  // Puts one exchange on the stream: count floats of every rank, this one's at received + rank * count.
  absl::Status Put(float* received, int64_t count);
  // So that the host never has so much work on the way that the driver makes it wait for a rank that is gone.
  absl::Status Throttle();
  absl::Status AwaitMark(int64_t mark);

  // What the bounds and NCCL say of the exchanges on the way.
  absl::Status Look() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Fail(absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Watch();

  const NcclLibrary& library_;
  Device& device_;
  const int rank_;
  const int ranks_;
  std::unique_ptr<Buffer> pieces_;  // Where columns of several rows, or of unequal ranks, stand side by side.
  int64_t exchanges_ = 0;
  std::deque<int64_t> marks_;  // Of exchanges that may still be on the way.

  absl::Mutex mutex_;
  nccl::Comm* comm_ ABSL_GUARDED_BY(mutex_) = nullptr;  // Null: aborted.
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  WaitBounds wait_ ABSL_GUARDED_BY(mutex_);
  bool watched_ ABSL_GUARDED_BY(mutex_) = false;  // Exchanges are on the way.
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread watch_;
};

}  // namespace barn
