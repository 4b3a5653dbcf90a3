#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "proto/cluster.pb.h"
#include "sharding/adapter.h"
#include "tests/worker/service/fake_coordinator.h"
#include "worker/service/worker.h"

namespace barn {

inline constexpr char kOracleModel[] = "/../shared/oracles/arch/mixtral-f32.gguf";  // 3 layers, 8 experts, 320 entries.
inline constexpr int64_t kOracleLayers = 3;

std::string OracleModelPath();

// A worker on its own thread.
class RunningWorker {
 public:
  explicit RunningWorker(WorkerOptions options);
  ~RunningWorker();
  // Stops and destroys the worker as if its process had ended. Returns what Run returned.
  absl::Status End();
  // The same for one that ends by itself.
  absl::Status AwaitEnd();

 private:
  std::unique_ptr<Worker> worker_;
  std::thread thread_;
  absl::Status status_;
};

WorkerOptions TestWorkerOptions(const FakeCoordinator& coordinator);

struct LoadShape {
  int64_t epoch = 1;
  int stage = 0;
  int stages = 1;
  int64_t first_layer = 0;
  int64_t last_layer = kOracleLayers;
  std::string next_address = {};
  std::string model = OracleModelPath();
  int64_t deployment = 0;
};
proto::CoordinatorMessage LoadMessage(const LoadShape& shape);

// One sequence's rows that ask for full logits of the last. Positions of sequence 1 from first_position; its blocks are
// handed out in reverse order so that no table is the identity.
proto::CoordinatorMessage StepMessage(int64_t epoch, int64_t step_id, int64_t first_position,
                                      std::span<const int32_t> tokens);

// The step after another of the same sequence, which takes its token from that one.
proto::CoordinatorMessage FollowingStepMessage(int64_t epoch, int64_t step_id, int64_t position);

// What one undivided slice computes in this process, for chunks of tokens in order: the logits of each chunk's last
// row. adapter: what every row passes through; null: nothing.
std::vector<std::vector<float>> SliceLogits(const std::vector<std::vector<int32_t>>& chunks,
                                            const Adapter* adapter = nullptr, float scale = 1);

std::vector<float> FullLogits(const proto::SequenceResult& result);

// Loads a pipeline of two stages cut behind `cut` layers onto two peers. Fails the test when it cannot.
void LoadTwoStages(FakeCoordinator::Peer& first, FakeCoordinator::Peer& last, int64_t epoch, int64_t cut,
                   const std::string& model = OracleModelPath(), int64_t deployment = 0);

}  // namespace barn
