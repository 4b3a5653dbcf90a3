#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/plan.h"

namespace barn {

// Places the model on the nodes; PlanShards bound to one model. ResourceExhausted: it does not fit.
using Planner = std::function<absl::StatusOr<ShardPlan>(std::span<const PlanNode>)>;

// Constant for the life of a Core.
struct CoreOptions {
  // One of a Fleet's cores: the fleet welcomes workers, watches their leases and says goodbye, and says when a model
  // shall be loaded.
  bool in_fleet = false;
  int64_t deployment = 0;                         // See LoadRequest in cluster.proto.
  std::function<int64_t()> next_epoch = nullptr;  // Null: counts from 1.
  std::string version;                            // A worker's Hello must say the same.
  int workers_expected = 1;        // The plan is made when so many have joined; more than that are spares.
  std::vector<std::string> parts;  // Where workers find the model's files, in part order.
  std::string exchange_token;      // Shared by the workers of this cluster.
  std::set<int32_t> end_ids;       // End-of-generation tokens.
  int64_t vocabulary = 0;
  int64_t embedding_floats = 0;      // Of a hidden state; 0: no embeddings are given.
  bool encoder = false;              // Gives embeddings only; a sequence must come whole, in one step.
  bool has_scores = false;           // The model has a classification head.
  int64_t sequence_tokens_max = 0;   // Longest prompt plus answer that the model allows; the KV capacity bounds it too.
  int64_t step_tokens_max = 512;     // Rows of one step.
  bool deterministic = false;        // Workers refuse to load on a device whose results depend on the batch.
  bool draft = false;                // Guesses tokens from what was said before; the answers stay the same.
  int64_t waiting_max = 256;         // Requests that do not run yet.
  int64_t tenant_waiting_max = 128;  // Of them, those of one tenant.
  int64_t running_max = 256;         // Requests that hold KV blocks.
  absl::Duration heartbeat = absl::Milliseconds(500);
  absl::Duration lease = absl::Seconds(3);
  absl::Duration step_deadline = absl::Minutes(10);    // For the oldest step in flight: slow processors, large models.
  absl::Duration load_stall_max = absl::Minutes(5);    // Without a sign of progress while loading.
  absl::Duration load_retry_after = absl::Seconds(5);  // After a load that failed for a passing reason.
  absl::Duration stall_max = absl::Milliseconds(100);  // What prompts may add to the time between tokens of a stream.
  absl::Duration recovery_max = absl::Minutes(2);  // Requests wait so long for a new plan after a loss; zero: they end.
  int losses_max = 5;  // Of workers that a request outlives without a new token; one that kills them must end.
};

}  // namespace barn
