#include "coordinator/cli/local_cluster.h"

#include <openssl/rand.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/progress_bar.h"
#include "coordinator/text/vocabulary.h"
#include "proto/base/status.h"
#include "sharding/model_config.h"

namespace barn {
namespace {

absl::StatusOr<std::string> RandomToken() {
  unsigned char bytes[24];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
    return absl::InternalError("the system gives no random numbers for a cluster token");
  }
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
}

// Every worker gets cores of its own; workers beyond the cores share them in turn.
std::vector<int> CpusOfWorker(const std::vector<int>& all, int worker, int workers) {
  std::vector<int> mine;
  for (size_t i = 0; i < all.size(); ++i) {
    if (static_cast<int>(i * workers / all.size()) == worker) {
      mine.push_back(all[i]);
    }
  }
  if (mine.empty() && !all.empty()) {
    mine.push_back(all[worker % all.size()]);
  }
  return mine;
}

int ThreadsOfWorker(const LocalWorkerOptions& options, const std::vector<int>& cpus) {
  return options.threads > 0 ? options.threads : std::max<int>(1, static_cast<int>(cpus.size()));
}

}  // namespace

KvType KvTypeOf(const ModelOptions& options) {
  const char* activations = std::getenv("BARN_ACTIVATIONS");
  const bool exact = activations != nullptr && std::string_view(activations) == "f32";
  return ParseKvType(options.kv_type).value_or(exact ? KvType::kF32 : KvType::kF16);
}

int LocalThreads(const LocalWorkerOptions& options) {
  const std::vector<int> all = AllowedCpus();
  int threads = 0;
  for (int i = 0; i < options.workers; ++i) {
    threads += ThreadsOfWorker(options, CpusOfWorker(all, i, options.workers));
  }
  return threads;
}

absl::StatusOr<std::unique_ptr<ServedCluster>> ServedCluster::Start(const Options& options) {
  auto cluster = std::make_unique<ServedCluster>();
  BARN_ASSIGN_OR_RETURN(cluster->reference_, ResolveModel(options.model.model));
  BARN_ASSIGN_OR_RETURN(cluster->model_, GgufModel::Open(cluster->reference_.location));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*cluster->model_));
  cluster->context_tokens_trained_ = config.context_tokens;
  cluster->vocabulary_ = config.vocabulary;
  BARN_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadVocabulary(cluster->model_->metadata()));
  BARN_ASSIGN_OR_RETURN(cluster->tokenizer_, Tokenizer::Create(std::move(vocabulary)));
  BARN_ASSIGN_OR_RETURN(ClusterOptions engine, cluster->EngineOptions(options));
  if (options.step_bytes_max > 0) {
    const int64_t row_bytes = config.vocabulary * static_cast<int64_t>(sizeof(Candidate));
    engine.step_tokens_max = std::clamp<int64_t>(options.step_bytes_max / row_bytes, 1, engine.step_tokens_max);
  }
  const std::set<int32_t>& end_ids = cluster->tokenizer_->vocabulary().end_of_generation;
  BARN_ASSIGN_OR_RETURN(cluster->engine_, ClusterEngine::Create(engine, *cluster->model_, end_ids));
  BARN_RETURN_IF_ERROR(cluster->StartWorkers(options.local));
  return cluster;
}

absl::StatusOr<std::unique_ptr<ServedCluster>> ServedCluster::StartEmpty(const Options& options) {
  auto cluster = std::make_unique<ServedCluster>();
  BARN_ASSIGN_OR_RETURN(const ClusterOptions engine, cluster->EngineOptions(options));
  BARN_ASSIGN_OR_RETURN(cluster->engine_, ClusterEngine::Create(engine));
  BARN_RETURN_IF_ERROR(cluster->StartWorkers(options.local));
  return cluster;
}

absl::StatusOr<ClusterOptions> ServedCluster::EngineOptions(const Options& options) {
  token_ = options.token;
  if (token_.empty()) {
    BARN_ASSIGN_OR_RETURN(token_, RandomToken());
  }
  ClusterOptions engine;
  engine.listen = options.listen;
  engine.token = token_;
  engine.version = std::string(BarnVersion());
  engine.model_reference = reference_.id;
  engine.workers_expected = options.workers_expected;
  engine.context_tokens = options.model.context_tokens;
  engine.kv = KvTypeOf(options.model);
  engine.deterministic = options.model.deterministic;
  engine.draft = options.draft;
  engine.objective = options.model.objective;
  engine.stall_max = absl::Milliseconds(options.scheduling.stall_ms);
  engine.recovery_max = options.scheduling.recovery_max;
  engine.running_max = options.scheduling.running_max;
  engine.waiting_max = options.scheduling.waiting_max;
  engine.tenant_waiting_max = std::max<int64_t>(1, engine.waiting_max / 2);
  return engine;
}

absl::Status ServedCluster::StartWorkers(const LocalWorkerOptions& local) {
  local_ = local;
  for (int i = 0; i < local.workers; ++i) {
    BARN_RETURN_IF_ERROR(StartWorker(i));
  }
  return absl::OkStatus();
}

absl::Status ServedCluster::StartWorker(int index) {
  const std::vector<int> all = AllowedCpus();
  ChildOptions child;
  child.cpus = local_.workers > 1 ? CpusOfWorker(all, index, local_.workers) : all;
  child.arguments = {"worker",
                     "--join",
                     absl::StrCat("127.0.0.1:", engine_->port()),
                     "--name",
                     absl::StrCat("local-", index),
                     "--threads",
                     absl::StrCat(ThreadsOfWorker(local_, child.cpus))};
  if (!local_.memory.empty()) {
    child.arguments.insert(child.arguments.end(), {"--memory", local_.memory});
  }
  if (!local_.host_memory.empty()) {
    child.arguments.insert(child.arguments.end(), {"--host-memory", local_.host_memory});
  }
  if (!local_.device.empty()) {
    child.arguments.insert(child.arguments.end(), {"--device", local_.device});
  }
  if (!local_.cache.empty()) {
    child.arguments.insert(child.arguments.end(), {"--cache", local_.cache});
  }
  child.environment = {{"BARN_TOKEN", token_}};
  if (std::getenv("BARN_LOG") == nullptr) {
    child.environment.emplace_back("BARN_LOG", "error");  // Joining and leaving is no news to who started it.
  }
  BARN_ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(child));
  if (index < static_cast<int>(children_.size())) {
    children_[index] = std::move(process);
  } else {
    children_.push_back(std::move(process));
  }
  return absl::OkStatus();
}

ServedCluster::~ServedCluster() {
  engine_.reset();  // Tells the workers to end.
  children_.clear();
}

absl::Status ServedCluster::WaitReady(const std::function<bool()>& stop) {
  ProgressBar bar;
  return engine_->WaitReady(absl::InfiniteDuration(), [&](const EngineState& state) -> absl::Status {
    if (stop && stop()) {
      return absl::CancelledError("stopped");
    }
    for (ChildProcess& child : children_) {
      if (!child.Running()) {
        return absl::UnavailableError("a worker process ended while the model was loading");
      }
    }
    bar.Draw(state);
    return absl::OkStatus();
  });
}

absl::StatusOr<RequestUpdate> ServedCluster::Run(GenerateRequest request,
                                                 std::function<void(const GeneratedToken&)> on_token) {
  struct Collected {
    RequestUpdate all;
    std::promise<absl::Status> done;
  };
  auto collected = std::make_shared<Collected>();
  std::future<absl::Status> done = collected->done.get_future();
  auto on_update = [collected, on_token = std::move(on_token)](RequestUpdate update) {
    for (GeneratedToken& token : update.tokens) {
      if (on_token) {
        on_token(token);
      }
      collected->all.tokens.push_back(std::move(token));
    }
    std::move(update.prompt_scores.begin(), update.prompt_scores.end(),
              std::back_inserter(collected->all.prompt_scores));
    if (update.finish != FinishReason::kNone) {
      collected->all.finish = update.finish;
      collected->done.set_value(update.status);
    }
  };
  BARN_RETURN_IF_ERROR(engine_->Submit(std::move(request), std::move(on_update)).status());
  BARN_RETURN_IF_ERROR(done.get());
  return std::move(collected->all);
}

}  // namespace barn
