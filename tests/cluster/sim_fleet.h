#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/scheduler/fleet.h"
#include "tests/cluster/fake_stage.h"
#include "tests/cluster/timeline.h"

namespace barn {

// A model of a simulated fleet: kLayers layers of layer_bytes each, and kv_bytes on every stage. The vocabulary makes
// its answers its own.
struct SimModel {
  static constexpr int64_t kLayers = 12;
  static constexpr int64_t kv_bytes = 10;

  int64_t layer_bytes = 10;
  int vocabulary = 50;
  bool pinned = false;
  absl::Duration keep_alive = kKeepAliveDefault;
  absl::StatusCode load_error = absl::StatusCode::kOk;  // What every load of it ends with.

  int64_t bytes() const { return kLayers * layer_bytes; }
};

struct SimFleetOptions {
  int workers = 2;
  uint64_t seed = 1;
  int64_t memory_bytes = 200;    // Of each worker.
  std::vector<SimModel> models;  // Numbered from 1.
  absl::Duration compute_max = absl::Milliseconds(10);
};

// Somebody who wants a model, asks it one thing, and leaves.
struct SimUse {
  int64_t model = 0;
  std::vector<int32_t> prompt;
  int64_t max_tokens = 8;
  std::optional<absl::Duration> keep_alive = std::nullopt;
  absl::Duration wait_max = absl::InfiniteDuration();
};

struct SimUseResult {
  SimUse use;
  int verdicts = 0;
  absl::Status verdict;  // Of the hold.
  absl::Time held, granted, ended = absl::InfiniteFuture();
  absl::Status request;  // The request's verdict or end.
  std::vector<int32_t> tokens;
};

// The real fleet and fake workers, one seed, one thread, no wall clock. Workers hold several slices, count their memory
// and run steps in the order of their coming, as real ones do. What breaks a promise is noted in errors().
class SimFleet : public Timeline {
 public:
  explicit SimFleet(SimFleetOptions options);

  void StartAll();
  int64_t Use(const SimUse& use);
  // The hold, or the request, is given up.
  void GiveUp(int64_t use);
  void Ask(const FleetEvent& event) { StepFleet({event}); }
  void Kill(int worker);
  void Restart(int worker);
  // False when `limit` passes before every use has ended.
  bool RunUntilIdle(absl::Duration limit);

  Fleet& fleet() { return fleet_; }
  ModelStanding::Phase Phase(int64_t model) const { return fleet_.Standing(model).phase; }
  const std::map<int64_t, SimUseResult>& uses() const { return uses_; }
  const std::vector<std::string>& errors() const { return errors_; }
  std::mt19937_64& random() { return random_; }
  // What a use must be told.
  std::vector<int32_t> Answer(const SimUse& use) const;

 private:
  struct Activation {
    int64_t epoch;
    int64_t step_id;
    std::vector<uint64_t> rows;
  };
  struct Slice {
    std::unique_ptr<FakeStage> stage;
    int64_t bytes = 0;
    bool runs = false;
  };
  struct Worker {
    bool alive = false;
    int64_t id = 0;  // Of its stream; a new one at each start.
    absl::Time to_worker, from_worker, to_next;
    std::map<int64_t, Slice> slices;  // By deployment.
    std::deque<proto::StepRequest> steps;
    std::vector<Activation> activations;
    int64_t busy_epoch = 0;  // Of the step that it computes.
  };

  absl::Duration Delay(absl::Duration max);
  void StepFleet(std::vector<FleetEvent> events);
  void Perform(const FleetActions& actions);
  void OnHold(const HoldVerdict& verdict);
  void EndUse(int64_t use, absl::Status status);
  void Note(const std::string& text);
  int WorkerOf(int64_t id) const;
  Slice* FindEpoch(Worker& worker, int64_t epoch);
  void Say(int worker, proto::WorkerMessage message);
  void Hear(int worker, const proto::CoordinatorMessage& message);
  void Load(int worker, const proto::LoadRequest& load);
  void EndEpoch(Worker& worker, int64_t epoch);
  void Beat(int worker, int64_t id);
  void TryCompute(int worker);
  void FinishStep(int worker, const proto::StepRequest& step);
  void Tick();

  const SimFleetOptions options_;
  std::mt19937_64 random_;
  Fleet fleet_;
  std::vector<Worker> workers_;
  std::map<int64_t, SimUseResult> uses_;  // The number is that of the hold and of the request.
  int64_t last_worker_id_ = 0;
  std::vector<std::string> errors_;
};

}  // namespace barn
