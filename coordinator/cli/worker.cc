// `barn worker`: runs a slice for a coordinator.
#include <spdlog/spdlog.h>
#include <atomic>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/model_reference.h"
#include "coordinator/cli/size_text.h"
#include "coordinator/cli/stop_signal.h"
#include "kernels/devices.h"
#include "proto/base/status.h"
#include "worker/service/worker.h"

namespace barn {
namespace {

struct WorkerSettings {
  WorkerOptions worker;
  std::string memory;
  std::string host_memory;
  std::string device = "cpu";
  std::string log_level = "info";
  int exchange_wait_s = 120;
};

absl::Status RunWorker(WorkerSettings& settings) {
  StopSignal stop;
  spdlog::set_level(spdlog::level::from_str(settings.log_level));
  DeviceOptions device = {
      .name = settings.device, .threads = settings.worker.threads, .pin = settings.worker.pin_threads};
  if (!settings.memory.empty()) {
    // Of a GPU's memory this is all that is taken, and the worker offers a part; of the host's, it is the offer.
    int64_t& bytes = device.name == "cpu" ? settings.worker.memory_bytes : device.memory_bytes;
    BARN_ASSIGN_OR_RETURN(bytes, ParseBytes(settings.memory));
  }
  if (!settings.host_memory.empty()) {
    BARN_ASSIGN_OR_RETURN(settings.worker.host_memory_bytes, ParseBytes(settings.host_memory));
  }
  settings.worker.make_device = [device] { return CreateDevice(device); };
  if (settings.worker.cache_dir.empty()) {
    settings.worker.cache_dir = (std::filesystem::path(BarnHome()) / "cache").string();
  }
  settings.worker.exchange_wait = absl::Seconds(settings.exchange_wait_s);
  settings.worker.version = std::string(BarnVersion());
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, Worker::Create(settings.worker));
  std::atomic<bool> ended = false;
  absl::Status result;
  std::thread runner([&] {
    result = worker->Run();
    ended = true;
  });
  while (!ended && !stop.Wait(absl::Milliseconds(100))) {
  }
  worker->Stop();
  runner.join();
  return result;
}

}  // namespace

void AddWorkerCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("worker", "Join a coordinator and run a slice of its model");
  auto settings = std::make_shared<WorkerSettings>();
  command->add_option("--join", settings->worker.join_address, "ADDR:PORT of the coordinator")
      ->envname("BARN_JOIN")
      ->required();
  command->add_option("--token", settings->worker.token, "The coordinator's join token (better: BARN_TOKEN)")
      ->envname("BARN_TOKEN");
  command->add_option("--device", settings->device, "What computes: cpu, or a GPU as `barn devices` lists them")
      ->envname("BARN_DEVICE")
      ->capture_default_str();
  command->add_option("--memory", settings->memory, "What to offer for weights, keys and values, as 8GiB")
      ->envname("BARN_MEMORY");
  command
      ->add_option("--host-memory", settings->host_memory,
                   "Beside a GPU: what to offer for experts that it has no room for, as 64GiB")
      ->envname("BARN_HOST_MEMORY");
  command->add_option("-t,--threads", settings->worker.threads, "Compute threads (0: one per core)")
      ->envname("BARN_THREADS")
      ->check(CLI::Range(0, 1024));
  command->add_option("--cache", settings->worker.cache_dir, "Folder for fetched weights")->envname("BARN_CACHE");
  command->add_option("--name", settings->worker.name, "How to call this worker");
  command->add_option("--host", settings->worker.listen_host, "Address that other workers reach this one at")
      ->envname("BARN_HOST")
      ->capture_default_str();
  command
      ->add_option("--exchange-wait", settings->exchange_wait_s,
                   "Seconds that a step on GPUs that share every layer may take before the others count as lost")
      ->envname("BARN_EXCHANGE_WAIT")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command->add_option("--log", settings->log_level, "What to tell on stderr")
      ->envname("BARN_LOG")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  SetWork(command, [settings] { return RunWorker(*settings); });
}

}  // namespace barn
