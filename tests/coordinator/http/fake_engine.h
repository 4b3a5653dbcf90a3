#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// The prompt without its first token, again and again.
std::vector<int32_t> RepeatPrompt(const GenerateRequest& request);

// The embedding that the fake engine gives for a prompt; of kScore one number.
inline constexpr int64_t kFakeEmbeddingWidth = 8;
std::vector<float> FakeEmbedding(const std::vector<int32_t>& prompt, Pooling pooling);

// An engine without a model: each step gives every request its next scripted token. Thread-safe.
class FakeEngine final : public Engine {
 public:
  struct Options {
    int64_t context_tokens = 256;
    int64_t queue_max = 1000;
    absl::Duration step = absl::ZeroDuration();  // Between steps; zero: as fast as it goes.
    bool manual = false;                         // Steps only on Step().
    std::function<std::vector<int32_t>(const GenerateRequest&)> script =
        {};                     // The answer; by default the prompt, repeated.
    int64_t fail_after = -1;    // >= 0: each request fails after so many tokens.
    int64_t cached_tokens = 0;  // Of each prompt.
    absl::Status refusal = {};  // Of every request.
    int64_t prompt_steps = 0;   // Steps without a token, as for a long prompt.
  };

  explicit FakeEngine(Options options);
  ~FakeEngine() override;

  absl::StatusOr<int64_t> Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) override;
  void Cancel(int64_t request_id) override;
  EngineState State() const override;

  void Step() ABSL_LOCKS_EXCLUDED(mutex_);
  void SetReady(bool ready, std::string reason = "") ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t active() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t cancelled() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<GenerateRequest> submitted() const ABSL_LOCKS_EXCLUDED(mutex_);

  // What it reports for every token: the drawn one and then its neighbours by id.
  static constexpr float kLogprob = -0.5f;

 private:
  struct Running {
    GenerateRequest request;
    std::vector<int32_t> answer;
    bool ends = false;  // The script ends before max_tokens.
    int64_t done = 0;
    int64_t steps = 0;
    bool cancelled = false;
    std::function<void(RequestUpdate)> on_update;
  };

  RequestUpdate Advance(int64_t id, Running& running) const;
  void Loop();

  const Options options_;
  mutable absl::Mutex mutex_;
  std::map<int64_t, Running> running_ ABSL_GUARDED_BY(mutex_);
  EngineState state_ ABSL_GUARDED_BY(mutex_);
  std::vector<GenerateRequest> submitted_ ABSL_GUARDED_BY(mutex_);
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex step_mutex_;  // One step at a time, so that updates of a request come in order.
  std::thread thread_;
};

}  // namespace barn
