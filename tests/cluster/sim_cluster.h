#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/scheduler/core.h"
#include "tests/cluster/fake_stage.h"
#include "tests/cluster/timeline.h"

namespace barn {

struct SimOptions {
  int workers = 2;
  bool ranks = false;  // All workers share one stage, instead of a pipeline.
  uint64_t seed = 1;
  int64_t kv_blocks = 64;
  int64_t kv_block_tokens = 4;
  int64_t step_tokens_max = 32;
  int64_t waiting_max = 256;
  int64_t running_max = 256;
  int64_t sequence_tokens_max = 1000;
  int vocabulary = FakeModel().vocabulary;
  bool draft = false;
  bool encoder = false;
  absl::Duration delay_max = absl::Milliseconds(20);    // Of each message.
  absl::Duration compute_max = absl::Milliseconds(10);  // Of each step on each stage, at random;
  absl::Duration compute_step = absl::ZeroDuration();   // and what each takes,
  absl::Duration compute_row = absl::ZeroDuration();    // and each of its rows.
  double stream_break = 0;                              // Chance of each message to find its stream broken.
  double step_failure = 0;                              // Chance of each step on each stage to fail with a StepFailure.
  double step_stall = 0;  // Chance of each step on each stage to hang the worker's compute thread.
  double garbage = 0;     // Chance of each result of the last stage to be malformed.
  absl::Duration step_deadline = absl::Seconds(10);
};

// What a simulated caller saw.
struct SimReply {
  GenerateRequest request;
  bool answered = false;  // A verdict has come.
  absl::Status verdict;
  std::vector<int32_t> tokens;
  std::vector<absl::Time> times;  // When they came.
  std::vector<PromptScore> scores;
  std::vector<float> embedding;
  int64_t cached_tokens = 0;
  int64_t prompt_tokens_done = 0;
  int ends = 0;
  FinishReason finish = FinishReason::kNone;
  absl::Status status;
};

// The real core and fake workers on a simulated transport, one seed, one thread, no wall clock. Links are FIFO with
// random delays. Whatever breaks a promise of the core is noted in errors().
class SimCluster : public Timeline {
 public:
  explicit SimCluster(const SimOptions& options);

  void StartAll();
  int64_t Submit(GenerateRequest request);
  void Cancel(int64_t request_id);
  // The worker process dies. With `silent`, nobody sees its stream break, only its lease runs out.
  void Kill(int worker, bool silent);
  void Restart(int worker);
  // False when `limit` passes before every request has ended.
  bool RunUntilIdle(absl::Duration limit);
  bool RunUntilReady(absl::Duration limit);
  // Called after the last update of each request.
  void OnEnd(std::function<void(int64_t)> on_end) { on_end_ = std::move(on_end); }
  // No more random failures.
  void Calm() { calm_ = true; }

  Core& core() { return core_; }
  const FakeModel& model() const { return model_; }
  const std::map<int64_t, SimReply>& replies() const { return replies_; }
  const std::vector<std::string>& errors() const { return errors_; }
  // Of all actions so far, in order.
  uint64_t fingerprint() const { return fingerprint_; }
  int64_t steps_in_flight_max() const { return steps_in_flight_max_; }
  std::mt19937_64& random() { return random_; }

 private:
  struct Activation {
    int64_t epoch;
    int64_t step_id;
    std::vector<uint64_t> rows;
  };
  // Commands run in order; a step waits for the activation of the stage before.
  struct Worker {
    bool alive = false;
    int64_t life = 0;      // Messages of earlier lives are void.
    int64_t id = 0;        // That the transport gave to its stream; 0: not joined.
    absl::Time to_worker;  // When the last message on each link arrives.
    absl::Time from_worker;
    absl::Time to_next;
    std::unique_ptr<FakeStage> stage;
    std::deque<proto::StepRequest> steps;
    std::deque<Activation> activations;
    bool busy = false;
    bool stalled = false;
  };

  bool Chance(double probability);
  absl::Duration Delay(absl::Duration max);
  void StepCore(std::vector<Event> events);
  void Perform(const Actions& actions);
  void Note(const std::string& text);
  void Connect(int worker);
  void BreakStream(int worker);
  void Say(int worker, proto::WorkerMessage message);
  void Hear(int worker, const proto::CoordinatorMessage& message);
  void Beat(int worker, int64_t life, int64_t id);
  void TryCompute(int worker);
  void FinishStep(int worker, const proto::StepRequest& step);
  void SendActivation(int worker, Activation activation);
  void Spoil(proto::StepResult& result);
  void Tick();
  int WorkerOf(int64_t id) const;
  bool Idle() const;

  const SimOptions options_;
  const FakeModel model_;
  std::mt19937_64 random_;
  Core core_;
  std::vector<Worker> workers_;
  std::map<int64_t, SimReply> replies_;
  int64_t last_worker_id_ = 0;
  int64_t last_request_id_ = 0;
  std::vector<std::string> errors_;
  uint64_t fingerprint_ = 0;
  int64_t steps_in_flight_max_ = 0;
  bool calm_ = false;
  std::function<void(int64_t)> on_end_;
};

// A plan that gives every node two layers.
Planner EvenPlanner(int64_t kv_blocks, int64_t kv_block_tokens);
// The same layers in one stage that all nodes share.
Planner RanksPlanner(int64_t kv_blocks, int64_t kv_block_tokens);
CoreOptions TestCoreOptions(int workers);

}  // namespace barn
