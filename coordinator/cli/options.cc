#include "coordinator/cli/options.h"

#include <map>
#include <string>

namespace barn {

void AddModelArgument(CLI::App* command, ModelOptions& options, bool required) {
  CLI::Option* model =
      command->add_option("model", options.model, "A GGUF file or part 1 of several, an http(s) URL, or tiny-moe");
  if (required) {
    model->required();
  } else {
    model->envname("BARN_MODEL");
  }
}

void AddContextOptions(CLI::App* command, ModelOptions& options) {
  command->add_option("--context", options.context_tokens, "Positions of key-value cache to reserve, over all requests")
      ->envname("BARN_CONTEXT")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 32));
  command
      ->add_option("--kv-type", options.kv_type,
                   "Element of the key-value cache; 32 of them take 34 bytes in q8_0, 18 in q4_0")
      ->envname("BARN_KV_TYPE")
      ->check(CLI::IsMember(KvTypeNames()));
  command
      ->add_flag("--deterministic", options.deterministic,
                 "Insist on the same bits whatever the batch, chunk or split (processors give them in any case)")
      ->envname("BARN_DETERMINISTIC");
  const std::map<std::string, PlanObjective> objectives = {
      {"both", PlanObjective::kBoth}, {"latency", PlanObjective::kLatency}, {"throughput", PlanObjective::kThroughput}};
  command
      ->add_option("--objective", options.objective,
                   "What several workers shall do best: latency (one stream), throughput (many), both")
      ->envname("BARN_OBJECTIVE")
      ->transform(CLI::CheckedTransformer(objectives, CLI::ignore_case).description("{both,latency,throughput}"));
}

void AddSchedulingOptions(CLI::App* command, SchedulingOptions& options) {
  command
      ->add_option("--stall-ms", options.stall_ms,
                   "The most that prompts may add to the time between two tokens of an answer that runs")
      ->envname("BARN_STALL_MS")
      ->check(CLI::Range(int64_t{1}, int64_t{60'000}))
      ->capture_default_str();
  command->add_option("--running-max", options.running_max, "Answers that are generated at the same time; others wait")
      ->envname("BARN_RUNNING_MAX")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  command
      ->add_option("--waiting-max", options.waiting_max,
                   "Answers that wait, half of them of one key; more get 503 or 429 with Retry-After")
      ->envname("BARN_WAITING_MAX")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str();
}

void AddKeysFile(CLI::App* command, std::string& path) {
  command->add_option("--keys", path, "The file with keys and usage (default: keys.db in BARN_HOME)")
      ->envname("BARN_KEYS");
}

void AddLocalWorkerOptions(CLI::App* command, LocalWorkerOptions& options) {
  command->add_option("--workers", options.workers, "Worker processes to start on this machine")
      ->envname("BARN_WORKERS")
      ->check(CLI::Range(1, 64));
  command->add_option("-t,--threads", options.threads, "Threads of each worker (0: the cores divided among them)")
      ->envname("BARN_THREADS")
      ->check(CLI::Range(0, 1024));
  command->add_option("--memory", options.memory, "Memory that each worker offers, as 8GiB")->envname("BARN_MEMORY");
  command->add_option("--host-memory", options.host_memory, "Beside a GPU: what each offers for experts, as 64GiB")
      ->envname("BARN_HOST_MEMORY");
  command->add_option("--device", options.device, "What each worker computes on: cpu (default), cuda:0")
      ->envname("BARN_DEVICE");
  command->add_option("--cache", options.cache, "Folder for fetched weights")->envname("BARN_CACHE");
}

}  // namespace barn
