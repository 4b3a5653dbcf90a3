#pragma once

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/scheduler/request.h"

namespace barn {

// An engine update and the choice of the HTTP request that it belongs to.
struct ChoiceUpdate {
  size_t choice = 0;
  RequestUpdate update;
};

// Carries updates from the thread of the engine to the session that waits. Thread-safe. After Close() nothing reaches
// the session any more, so the engine may hold the mailbox longer than the session or its server live.
class Mailbox {
 public:
  // `wake` must only schedule work: it runs under the lock, on the thread of the engine, when the box becomes not
  // empty.
  explicit Mailbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  void Push(ChoiceUpdate update) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (wake_ == nullptr) return;
    updates_.push_back(std::move(update));
    if (updates_.size() == 1) wake_();
  }

  std::vector<ChoiceUpdate> Take() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return std::exchange(updates_, {});
  }

  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    wake_ = nullptr;
    updates_.clear();
  }

 private:
  absl::Mutex mutex_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
  std::vector<ChoiceUpdate> updates_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
