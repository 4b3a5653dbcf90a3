#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "kernels/devices.h"
#include "worker/exchange/exchange_server.h"
#include "worker/exchange/frame_router.h"
#include "worker/exchange/rank_port.h"
#include "worker/service/adapter_loader.h"
#include "worker/service/command_queue.h"
#include "worker/service/join_stream.h"
#include "worker/service/slice_loader.h"
#include "worker/service/stage.h"

namespace barn {

struct WorkerOptions {
  std::string join_address;  // host:port of the coordinator's Cluster service.
  std::string token;         // Metadata "barn-token". May be empty on loopback only.
  std::string version = "0.1.0";
  // For weights, KV and scratch. 0: 85 % of the host's memory that is available now, 97 % of what a GPU has for us.
  int64_t memory_bytes = 0;
  // Of the host, for experts that a GPU has no room for. Below 0: 85 % of what is available; nothing on processors.
  int64_t host_memory_bytes = -1;
  int threads = 0;  // CpuOptions::threads
  bool pin_threads = true;
  // What computes, made at Create: CreateDevice where GPUs are wanted. Null: the processors.
  std::function<absl::StatusOr<CreatedDevice>()> make_device = nullptr;
  std::string cache_dir;                  // Empty: DefaultCacheDirectory().
  int64_t cache_bytes_max = 0;            // CacheOptions::bytes_max
  std::string name;                       // Empty: host name and process id.
  std::string listen_host = "127.0.0.1";  // Where activations of other workers come in.
  int listen_port = 0;                    // 0: any free port.
  // What others dial. Empty: listen_host or, when that is 0.0.0.0 or [::], the address from which the coordinator is
  // reached.
  std::string advertise_host;
  absl::Duration frame_wait = absl::Minutes(10);  // How long a step waits for the stage before, or for other ranks ...
  absl::Duration exchange_wait = absl::Minutes(2);  // ... on GPUs.
  absl::Duration rank_wait = absl::Minutes(10);     // How long a rank that has loaded waits on a GPU for the others.
  std::string nccl_library;                         // See OpenNcclPort.
  absl::Duration reconnect_backoff_max = absl::Seconds(5);
};

// The message that tells of a step that failed.
proto::WorkerMessage FailureMessage(int64_t epoch, int64_t step_id, const absl::Status& status);

// What `barn worker` is: joins a coordinator, loads the slice that it names, runs steps. Three kinds of threads: the
// one in Run holds the connection and sends heartbeats, gRPC's receive, and one computes, so that heartbeats never wait
// for kernels. Every failure becomes a message to the coordinator.
class Worker {
 public:
  // Starts to listen for activations. InvalidArgument, FailedPrecondition: addresses and token (see CheckLink).
  // Unavailable: the port is in use.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(WorkerOptions options);
  ~Worker();

  // Serves until Stop (OK), until the coordinator says shutdown (OK), until it refuses this worker for good: wrong
  // token or version (its error), or until the device fails (its error). When the connection breaks, dials again for
  // ever and keeps the slice. Once only.
  absl::Status Run();

  // Thread-safe; not from a signal handler.
  void Stop();

  const std::string& exchange_address() const { return exchange_address_; }

 private:
  struct Session;
  // What this worker holds of one of the coordinator's models.
  struct Resident {
    int64_t epoch = 0;  // Of the last load.
    std::shared_ptr<SliceLoader> loader;
    AdapterLoader adapters;              // Of the stage's slice.
    std::unique_ptr<Stage> stage;        // Of the epoch that runs; null: none does.
    std::shared_ptr<FrameQueue> frames;  // Of that epoch; null on the first stage.
    std::shared_ptr<Outbox> asked_by;    // The connection that wanted it.
  };

  explicit Worker(WorkerOptions options) : options_(std::move(options)) {}
  absl::Status Prepare();
  absl::Status JoinOnce(proto::Cluster::Stub& stub, bool* welcomed);
  absl::Status Serve(Session& session, Outbox& outbox);
  void OnMessage(Session& session, const std::shared_ptr<Outbox>& outbox, proto::CoordinatorMessage message);
  proto::WorkerMessage HelloMessage() const;
  proto::WorkerMessage HeartbeatMessage() const;

  // The compute thread.
  void Compute();
  void HandleLoad(const WorkerCommand& command);
  // Whether the load begins with bytes from a network, for which the other residents need not wait: then they come by a
  // thread of their own, and the command comes back.
  bool FetchFirst(Resident& resident, const WorkerCommand& command);
  absl::Status Load(const proto::LoadRequest& request, const WorkerCommand& command, proto::LoadResult& result);
  // Loads the slice into what memory the other residents leave. Those that nobody runs any more make room.
  absl::StatusOr<SliceLoader::Loaded> LoadSlice(const proto::LoadRequest& request, const WorkerCommand& command);
  Resident* FindEpoch(int64_t epoch);
  void EndStage(Resident& resident);
  void Drop(std::map<int64_t, Resident>::iterator resident);
  // What the residents other than `deployment` leave.
  SliceMemory MemoryLeft(int64_t deployment) const;
  absl::StatusOr<Device*> HostDevice();
  // Residents that run nothing, or only for a connection other than `current`, are dropped, one. False: there is none.
  bool DropIdle(int64_t deployment, const Outbox* current);
  void NoteEpoch();
  void HandleStep(const WorkerCommand& command);
  void HandleEnd(const WorkerCommand& command);
  void HandleAdapter(const WorkerCommand& command);
  // The adapters that came with a load; their results go first.
  void BeginAdapters(Resident& resident, std::shared_ptr<Slice> slice, const WorkerCommand& command);
  // After an error on the device its results mean nothing, so this worker ends; another may begin afresh.
  void EndIfBroken();
  absl::Status broken() const;
  absl::Status JoinRanks(const proto::LoadRequest& request, const WorkerCommand& command, StageOptions& stage);
  // After a step of ranks that failed.
  void EndRanks(Resident& resident, const WorkerCommand& command);
  // Opens the port to other ranks, or opens another in its place: a rank that died in mid-message may have left a
  // half-written one in the old port's queue. Without UCX or NCCL this worker is just never planned as a rank.
  void OpenPort();
  // Notes the port's address; true: it is another than before, and the coordinator has to know it before it plans
  // again.
  bool NoteAddress();
  std::string rank_address() const;

  WorkerOptions options_;
  std::string exchange_address_;
  std::unique_ptr<Device> device_;
  FrameRouter frames_;
  std::unique_ptr<ExchangeServer> exchange_;
  CommandQueue commands_;
  std::atomic<int64_t> epoch_ = 0;  // The newest that runs; 0: none.

  // Only the compute thread. The stages' collectives borrow from the port.
  std::unique_ptr<Device> host_device_;  // Made when experts first lie with the host.
  std::unique_ptr<RankPort> port_;
  std::string no_port_;                    // Why there is none.
  std::map<int64_t, Resident> residents_;  // By deployment.
  struct Fetching {
    std::shared_ptr<std::atomic<bool>> done;
    std::jthread thread;
  };
  std::list<Fetching> fetching_;  // Bytes of remote models, while others run.

  mutable absl::Mutex mutex_;  // Also of the current Session.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // Why the device cannot be used any more.
  std::string rank_address_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
