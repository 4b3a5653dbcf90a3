#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/scheduler/request.h"
#include "proto/cluster.pb.h"

namespace barn {

// What the outside tells the core. Wire messages travel as plain data; the core trusts none of their contents.
struct WorkerJoined {
  int64_t worker_id = 0;  // Never used before.
  proto::Hello hello;
};

struct WorkerSaid {
  int64_t worker_id = 0;
  proto::WorkerMessage message;
};

// The worker's stream ended.
struct WorkerLost {
  int64_t worker_id = 0;
  std::string reason;
};

struct RequestSubmitted {
  int64_t request_id = 0;  // Never used before.
  GenerateRequest request;
  uint64_t fallback_seed = 0;  // Random; serves when the request names no seed.
};

struct RequestCancelled {
  int64_t request_id = 0;
};

struct AdapterAsked {
  int64_t adapter_id = 0;  // Never used before.
  std::vector<std::string> parts;
};

struct AdapterDropped {
  int64_t adapter_id = 0;
};

struct ShutdownAsked {
  std::string reason;
};

using Event = std::variant<WorkerJoined, WorkerSaid, WorkerLost, RequestSubmitted, RequestCancelled, ShutdownAsked,
                           AdapterAsked, AdapterDropped>;

// What the core wants done, in this order of groups: sends, disconnects, verdicts, updates, adapters.
struct SendToWorker {
  int64_t worker_id = 0;
  std::shared_ptr<const proto::CoordinatorMessage> message;  // A step is the same object for every stage.
};

struct DisconnectWorker {
  int64_t worker_id = 0;
  absl::Status reason;
};

// The answer to RequestSubmitted. Updates follow only when it is OK.
struct Verdict {
  int64_t request_id = 0;
  absl::Status status;
};

// What became of AdapterAsked: OK when requests may name the adapter; an error, also later, when it is gone.
struct AdapterVerdict {
  int64_t adapter_id = 0;
  absl::Status status;
};

struct Actions {
  std::vector<SendToWorker> sends;
  std::vector<DisconnectWorker> disconnects;
  std::vector<Verdict> verdicts;
  std::vector<RequestUpdate> updates;  // At most one for each request.
  std::vector<AdapterVerdict> adapters;
};

}  // namespace barn
