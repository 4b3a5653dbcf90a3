#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/cli/child_process.h"
#include "coordinator/cli/model_reference.h"
#include "coordinator/cluster/cluster_engine.h"
#include "coordinator/scheduler/engine.h"
#include "coordinator/text/tokenizer.h"
#include "sharding/gguf.h"

namespace barn {

struct ModelOptions {
  std::string model;           // As the user names it; empty: the embedded one.
  int64_t context_tokens = 0;  // 0: chosen by the planner.
  std::string kv_type;         // "f16", "f32", "q8_0", "q4_0" or empty: f16, and f32 when BARN_ACTIVATIONS is f32.
  bool deterministic = false;  // See CoreOptions.
  PlanObjective objective = PlanObjective::kBoth;
};

// How requests share the cluster; see CoreOptions.
struct SchedulingOptions {
  absl::Duration recovery_max = absl::ZeroDuration();  // Where nobody starts lost workers again, nobody waits for them.
  int64_t stall_ms = 100;
  int64_t running_max = 256;
  int64_t waiting_max = 256;
};

// What options.kv_type, one of KvTypeNames() or empty, means.
KvType KvTypeOf(const ModelOptions& options);

struct LocalWorkerOptions {
  int workers = 1;
  int threads = 0;               // Of each worker; 0: the machine's cores divided among them.
  std::string memory;            // Of each worker, as "8GiB"; empty: chosen by the worker.
  std::string host_memory = "";  // Likewise, beside a GPU.
  std::string cache;             // Empty: the default place.
  std::string device;            // Of each worker, as `barn devices` lists them; empty: the CPU.
};

// Threads of all local workers together.
int LocalThreads(const LocalWorkerOptions& options);

// A model that is being served: header, tokenizer, the coordinator's engine, and the worker processes started here
// (none for `barn serve`). The members end in the right order.
class ServedCluster {
 public:
  struct Options {
    ModelOptions model;
    LocalWorkerOptions local;
    SchedulingOptions scheduling;
    int workers_expected = 1;  // Plan when so many have joined; local ones included.
    std::string listen = "127.0.0.1:0";
    int64_t step_bytes_max = 0;  // > 0: steps so small that every logit of every row stays below this.
    std::string token;           // Empty: a fresh random one.
    bool draft = false;          // See CoreOptions.
  };
  static absl::StatusOr<std::unique_ptr<ServedCluster>> Start(const Options& options);
  // A cluster for several models, which are added to its engine: reference(), model() and tokenizer() are not there.
  static absl::StatusOr<std::unique_ptr<ServedCluster>> StartEmpty(const Options& options);
  ~ServedCluster();

  const ModelReference& reference() const { return reference_; }
  const GgufModel& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  ClusterEngine& engine() { return *engine_; }
  const std::string& token() const { return token_; }
  int64_t context_tokens_trained() const { return context_tokens_trained_; }
  std::vector<ChildProcess>& children() { return children_; }

  int64_t vocabulary() const { return vocabulary_; }  // Rows of the head, which may be more than the tokenizer's.
  absl::Status StartWorker(int index);                // Again, after it ended.

  // Waits until the model can answer, drawing progress on stderr. Fails when a local worker ends, when the plan says
  // that the model does not fit, or when `stop` turns true (Cancelled).
  absl::Status WaitReady(const std::function<bool()>& stop = nullptr);

  // Runs one request to its end. `on_token` (may be null) sees tokens as they come.
  absl::StatusOr<RequestUpdate> Run(GenerateRequest request,
                                    std::function<void(const GeneratedToken&)> on_token = nullptr);

 private:
  absl::StatusOr<ClusterOptions> EngineOptions(const Options& options);
  absl::Status StartWorkers(const LocalWorkerOptions& local);

  ModelReference reference_;
  std::unique_ptr<GgufModel> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t context_tokens_trained_ = 0;
  int64_t vocabulary_ = 0;
  LocalWorkerOptions local_;
  std::string token_;
  std::unique_ptr<ClusterEngine> engine_;
  std::vector<ChildProcess> children_;
};

}  // namespace barn
