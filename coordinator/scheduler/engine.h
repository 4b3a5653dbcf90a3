#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/scheduler/busy_time.h"
#include "coordinator/scheduler/histogram_picture.h"
#include "coordinator/scheduler/request.h"

namespace barn {

// What a person or a probe may ask about a worker.
struct WorkerState {
  int64_t id = 0;
  std::string name;
  std::string device;
  int64_t memory_bytes = 0;
  int stage = -1;  // -1: holds nothing.
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  int64_t load_bytes_done = 0;
  int64_t load_bytes_total = 0;
  double load_bytes_per_second = 0;
  bool loaded = false;
  int64_t busy_us = 0;  // Time in kernels since the plan began.
  int64_t wait_us = 0;  // Time waiting for the stage before.
  BusyShare since_ready;
  BusyShare recent;  // The last ten seconds.
};

// A picture of the cluster; counters only grow while the process lives.
struct EngineState {
  bool ready = false;
  bool failed =
      false;           // Nothing but a change of the cluster can make it ready: the model does not fit, loading failed.
  std::string reason;  // Why not ready: "waiting for 1 of 2 workers", "loading 41 %", the last failure.
  std::vector<WorkerState> workers;
  int64_t context_tokens_max = 0;  // Longest prompt plus answer of one request.
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_free = 0;    // No request holds them.
  int64_t kv_blocks_cached = 0;  // Of the free ones: hold a prefix that may be asked for again.
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t requests_total = 0;
  int64_t requests_failed_total = 0;
  int64_t prompt_tokens_total = 0;
  int64_t generated_tokens_total = 0;
  int64_t steps_total = 0;
  int64_t expert_bytes_read_total = 0;
  int64_t preemptions_total = 0;            // Requests that gave their blocks up, to be computed again.
  int64_t requests_recovered_total = 0;     // Requests that outlived the loss of a worker, once for each loss.
  int64_t prefix_cache_queries_total = 0;   // Prompt tokens looked for,
  int64_t prefix_cache_hits_total = 0;      // and found.
  int64_t draft_tokens_total = 0;           // Guessed and computed,
  int64_t draft_accepted_tokens_total = 0;  // and those that came true.
  HistogramPicture step_rows;               // Of each step.
  HistogramPicture queue_wait_seconds;      // From a request to the first step that has rows of it.
};

// What the front ends (HTTP, command line) see of the running model. Thread-safe.
class Engine {
 public:
  virtual ~Engine() = default;

  // Queues a request and returns its id. `on_update` is called in order from one thread of the engine, must not block,
  // and is not called again after an update with finish != kNone. Every accepted request gets such a last update.
  // InvalidArgument: prompt plus max_tokens beyond the context (both numbers named). ResourceExhausted: the queue is
  // full, try again later. Unavailable: no model is loaded now. The last update may bring an error, too:
  // DeadlineExceeded after the request's timeout, Unavailable when workers were lost and not replaced in time.
  virtual absl::StatusOr<int64_t> Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) = 0;

  // The request ends with kCancelled within one step. Unknown or finished ids are ignored.
  virtual void Cancel(int64_t request_id) = 0;

  virtual EngineState State() const = 0;
};

}  // namespace barn
