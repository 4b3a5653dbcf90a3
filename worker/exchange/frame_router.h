#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/exchange/frame_queue.h"

namespace barn {

// Bytes of activations in the largest frame that any plan may use.
inline constexpr int64_t kFrameBytesMax = int64_t{256} << 20;

// Which queue the frames of an epoch go to: slices of several models stand side by side on a worker, each with an epoch
// of its own. Thread-safe.
class FrameRouter {
 public:
  // Frames of the epoch are welcome in the queue that is returned, from streams that bring `token`. An older queue of
  // the same epoch ends. InvalidArgument: frames could exceed kFrameBytesMax, or the token is empty.
  absl::StatusOr<std::shared_ptr<FrameQueue>> Begin(const HopEpoch& epoch, const std::string& token);
  // Aborts the waits of the epoch, now and later.
  void End(int64_t epoch);
  void EndAll();

  // Whether any epoch that runs has this token.
  bool Knows(std::string_view token) const;
  // Null: no such epoch runs, or its token is another.
  std::shared_ptr<FrameQueue> Find(int64_t epoch, std::string_view token) const;

 private:
  struct Entry {
    std::string token;
    std::shared_ptr<FrameQueue> queue;
  };

  mutable absl::Mutex mutex_;
  std::map<int64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
