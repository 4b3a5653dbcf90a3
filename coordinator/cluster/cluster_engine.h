#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/cluster/cluster_service.h"
#include "coordinator/cluster/event_queue.h"
#include "coordinator/scheduler/adapter_host.h"
#include "coordinator/scheduler/engine.h"
#include "coordinator/scheduler/fleet.h"
#include "proto/base/clock.h"
#include "sharding/gguf.h"
#include "sharding/plan.h"

namespace barn {

struct ClusterOptions {
  std::string listen = "127.0.0.1:0";  // HOST:PORT of the Cluster service; port 0: any free one.
  std::string token;                   // Workers must show it. May be empty on a loopback address only.
  std::string version = "0.1.0";       // Of this build; a worker's must be the same.
  std::string model_reference;         // For people: what `barn status` calls the model.
  int workers_expected = 1;            // The model is placed when so many have joined.
  int64_t context_tokens = 0;          // PlanOptions::context_tokens
  KvType kv = KvType::kF16;
  bool deterministic = false;  // See CoreOptions.
  bool draft = false;          // The same.
  PlanObjective objective = PlanObjective::kBoth;
  int64_t step_tokens_max = 512;
  int64_t waiting_max = 256;                           // Requests in the queue; more are refused.
  int64_t tenant_waiting_max = 128;                    // Of them, those of one tenant.
  int64_t running_max = 256;                           // Requests that take part in steps.
  absl::Duration stall_max = absl::Milliseconds(100);  // See CoreOptions,
  absl::Duration recovery_max = absl::Minutes(2);      // and here.
  absl::Duration heartbeat = absl::Milliseconds(500);
  absl::Duration lease = absl::Seconds(3);
  absl::Duration step_deadline = absl::Minutes(10);
};

// One of several models of a cluster; what is not said here is as ClusterOptions say.
struct ClusterModel {
  std::string name;  // For people.
  int64_t context_tokens = 0;
  bool pinned = false;
  absl::Duration keep_alive = kKeepAliveDefault;
};

class ModelEngine;

// The engine of a cluster: the gRPC server that workers join, and one thread that runs the fleet of its models: one
// that is always loaded, for which this is the Engine, or several. Thread-safe.
class ClusterEngine : public Engine, public AdapterHost {
 public:
  // Listens and waits for workers. `model` is read during the call only; its files are what workers load.
  // Unimplemented: the architecture is not supported. Unavailable: the address is in use. FailedPrecondition: an
  // address that other machines reach, without a token.
  static absl::StatusOr<std::unique_ptr<ClusterEngine>> Create(const ClusterOptions& options, const GgufModel& model,
                                                               const std::set<int32_t>& end_ids);
  // The same without a model: they are added.
  static absl::StatusOr<std::unique_ptr<ClusterEngine>> Create(const ClusterOptions& options);
  // Every request ends with Unavailable, every worker is told to shut down.
  ~ClusterEngine() override;

  // Waits for the core's verdict, microseconds to a few milliseconds; not to be called from `on_update`.
  absl::StatusOr<int64_t> Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) override;
  void Cancel(int64_t request_id) override;
  EngineState State() const override;
  int64_t LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) override;
  void UnloadAdapter(int64_t id) override;

  // Several models. Returns the model's number, not 0. Unimplemented as Create.
  absl::StatusOr<int64_t> AddModel(const ClusterModel& what, const GgufModel& model, const std::set<int32_t>& end_ids);
  // Its requests end.
  void RemoveModel(int64_t model);
  // As soon as nobody uses it.
  void UnloadModel(int64_t model);
  // Loads the model if need be, and keeps it until Release. `hold` comes from NewHold. `done` is called once, from the
  // engine's thread, with the verdict (see ModelHeld); it must not block, and Release does not wait for it.
  int64_t NewHold() { return ++last_hold_; }
  void Hold(int64_t hold, int64_t model, std::optional<absl::Duration> keep_alive, absl::Duration wait_max,
            std::function<void(absl::Status)> done);
  void Release(int64_t hold);
  ModelStanding Standing(int64_t model) const;
  // The model alone, as a front end sees it. This engine outlives it.
  std::unique_ptr<ModelEngine> EngineOf(int64_t model);

  // "waiting for 1 of 2 workers", or "".
  std::string WorkersMissing() const;

  // The port that the Cluster service listens on.
  int port() const { return port_; }
  // OK when a request can be served. DeadlineExceeded: not within `timeout`; says what is missing. At once when nothing
  // but a change of the cluster can help: why (the model does not fit, a worker cannot load). `progress` (may be null)
  // sees the state every 20 ms meanwhile, and an error that it returns ends the wait.
  absl::Status WaitReady(absl::Duration timeout,
                         const std::function<absl::Status(const EngineState&)>& progress = nullptr);

 private:
  using OnUpdate = std::function<void(RequestUpdate)>;
  friend class ModelEngine;
  struct Submission;

  ClusterEngine(const ClusterOptions& options, std::string exchange_token);
  static absl::StatusOr<std::unique_ptr<ClusterEngine>> Make(const ClusterOptions& options);
  absl::Status Listen();
  absl::StatusOr<int64_t> SubmitTo(int64_t model, GenerateRequest request, OnUpdate on_update);
  void CancelOf(int64_t model, int64_t request_id);
  EngineState StateOf(int64_t model) const;
  int64_t LoadAdapterOf(int64_t model, std::vector<std::string> parts, std::function<void(absl::Status)> on_change);
  void UnloadAdapterOf(int64_t model, int64_t id);
  std::string StatusJson() const;
  // The engine's thread.
  void Run();
  void Perform(FleetActions actions);
  void PerformHolds(const std::vector<HoldVerdict>& verdicts);
  void Report(const AdapterVerdict& verdict);

  const ClusterOptions options_;
  const std::string exchange_token_;  // Of all models.
  const SystemClock clock_;
  int port_ = 0;
  EventQueue queue_;
  ClusterService service_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> last_request_id_ = 0;
  std::atomic<int64_t> last_adapter_id_ = 0;
  std::atomic<int64_t> last_model_ = 0;
  std::atomic<int64_t> last_hold_ = 0;
  int64_t primary_ = 0;                    // The model of Create; 0: none.
  std::map<int64_t, OnUpdate> on_update_;  // Of accepted requests; the engine's thread only.

  // The fleet belongs to the engine's thread; the lock lets others look between two steps.
  mutable absl::Mutex fleet_mutex_;
  Fleet fleet_ ABSL_GUARDED_BY(fleet_mutex_);
  std::map<int64_t, std::string> names_ ABSL_GUARDED_BY(fleet_mutex_);
  bool ready_ ABSL_GUARDED_BY(fleet_mutex_) = false;  // The primary one.
  absl::Status refusal_ ABSL_GUARDED_BY(fleet_mutex_);

  absl::Mutex submissions_mutex_;
  bool accepting_ ABSL_GUARDED_BY(submissions_mutex_) = true;
  std::map<int64_t, Submission*> submissions_ ABSL_GUARDED_BY(submissions_mutex_);  // Without a verdict yet.
  std::map<int64_t, std::function<void(absl::Status)>> holds_ ABSL_GUARDED_BY(submissions_mutex_);  // The same.

  struct AskedAdapter {
    int64_t model = 0;
    std::function<void(absl::Status)> on_change;
  };
  absl::Mutex adapters_mutex_;
  std::map<int64_t, AskedAdapter> adapters_ ABSL_GUARDED_BY(adapters_mutex_);
};

// One of a cluster's models, for whoever speaks with it alone. Thread-safe.
class ModelEngine : public Engine, public AdapterHost {
 public:
  // `cluster` outlives it.
  ModelEngine(ClusterEngine& cluster, int64_t model) : cluster_(cluster), model_(model) {}

  absl::StatusOr<int64_t> Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) override;
  void Cancel(int64_t request_id) override;
  EngineState State() const override;
  int64_t LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) override;
  void UnloadAdapter(int64_t id) override;

 private:
  ClusterEngine& cluster_;
  const int64_t model_;
};

}  // namespace barn
