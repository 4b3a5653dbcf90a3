#include "worker/service/worker.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/keepalive.h"
#include "proto/base/status.h"
#include "sharding/gpu_memory.h"
#include "sharding/rank_link.h"
#include "worker/exchange/grpc_hop.h"
#include "worker/exchange/link.h"
#include "worker/exchange/nccl_port.h"
#include "worker/exchange/ucx_port.h"
#include "worker/service/machine.h"

namespace barn {
namespace {

constexpr absl::Duration kWelcomeWait = absl::Seconds(15);
constexpr absl::Duration kLastWords = absl::Milliseconds(500);  // For why a device failed, before the call is cut.
constexpr absl::Duration kBackoffFirst = absl::Milliseconds(200);
constexpr double kMemoryShare = 0.85;  // Of the host's; the rest is for its page cache and for our own buffers.

// Answers that dialling again will not change.
bool IsFinal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

// What one connection to the coordinator brought so far. Guarded by Worker::mutex_.
struct Worker::Session {
  bool welcomed = false;
  bool shutdown = false;
  bool ended = false;
  absl::Status end;  // When it ended.
  absl::Duration heartbeat = absl::Seconds(1);
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  std::unique_ptr<Worker> worker(new Worker(std::move(options)));
  BARN_RETURN_IF_ERROR(worker->Prepare());
  return worker;
}

absl::Status Worker::Prepare() {
  BARN_RETURN_IF_ERROR(CheckLink("dial", options_.join_address, options_.token));
  const std::string listen = absl::StrCat(options_.listen_host, ":", options_.listen_port);
  BARN_RETURN_IF_ERROR(CheckLink("listen on", listen, options_.token));
  if (options_.name.empty()) {
    options_.name = absl::StrCat(HostName(), "-", getpid());
  }
  CreatedDevice created;
  if (options_.make_device != nullptr) {
    BARN_ASSIGN_OR_RETURN(created, options_.make_device());
  } else {
    BARN_ASSIGN_OR_RETURN(created.device, CreateCpuDevice({.threads = options_.threads, .pin = options_.pin_threads}));
  }
  device_ = std::move(created.device);
  if (options_.memory_bytes <= 0) {
    const int64_t bytes = created.memory_bytes > 0 ? created.memory_bytes : AvailableMemoryBytes();
    const double share = created.memory_bytes > 0 ? kGpuOfferedShare : kMemoryShare;
    options_.memory_bytes = static_cast<int64_t>(static_cast<double>(bytes) * share);
  }
  if (device_->host_addressable()) {
    options_.host_memory_bytes = 0;
  } else if (options_.host_memory_bytes < 0) {
    options_.host_memory_bytes = static_cast<int64_t>(static_cast<double>(AvailableMemoryBytes()) * kMemoryShare);
  }
  BARN_ASSIGN_OR_RETURN(exchange_, ExchangeServer::Start(listen, frames_));
  std::string host = options_.advertise_host.empty() ? options_.listen_host : options_.advertise_host;
  if (host == "0.0.0.0" || host == "[::]") {
    host = LocalHostTowards(options_.join_address);
  }
  exchange_address_ = absl::StrCat(host, ":", exchange_->port());
  OpenPort();
  NoteAddress();
  return absl::OkStatus();
}

absl::StatusOr<Device*> Worker::HostDevice() {
  if (host_device_ == nullptr) {
    BARN_ASSIGN_OR_RETURN(host_device_, CreateCpuDevice({.threads = options_.threads, .pin = options_.pin_threads}));
  }
  return host_device_.get();
}

void Worker::OpenPort() {
  port_.reset();
  absl::StatusOr<std::unique_ptr<RankPort>> port = absl::UnavailableError("");
  if (device_->host_addressable()) {
    port = UcxPort::Open();
  } else {
    port = OpenNcclPort(*device_, options_.nccl_library);
  }
  if (port.ok()) {
    port_ = *std::move(port);
  } else {
    no_port_ = std::string(port.status().message());
    spdlog::debug("worker {}: {}", options_.name, no_port_);
  }
}

bool Worker::NoteAddress() {
  const DeviceStream stream = device_->stream();
  RankLink link{.device = stream.device, .read_bytes_per_s = stream.read_bytes_per_s};
  if (port_ == nullptr) {
    link.missing = no_port_;
  } else if (!port_->usable().ok()) {
    link.missing = std::string(port_->usable().message());
  } else {
    link.transport = port_->transport();
    link.address = port_->address();
  }
  std::string address = FormatRankLink(link);
  absl::MutexLock lock(&mutex_);
  const bool is_new = address != rank_address_;
  rank_address_ = std::move(address);
  return is_new;
}

std::string Worker::rank_address() const {
  absl::MutexLock lock(&mutex_);
  return rank_address_;
}

Worker::~Worker() {
  Stop();
  commands_.Close();
  fetching_.clear();
  residents_.clear();
}

absl::Status Worker::broken() const {
  absl::MutexLock lock(&mutex_);
  return broken_;
}

void Worker::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

absl::Status Worker::Run() {
  const std::unique_ptr<proto::Cluster::Stub> stub =
      proto::Cluster::NewStub(DialLink(options_.join_address, kJoinProbeMs));
  std::jthread compute([this] { Compute(); });
  absl::Status status;
  absl::Duration backoff = kBackoffFirst;
  while (true) {
    bool welcomed = false;
    status = JoinOnce(*stub, &welcomed);
    if (absl::Status why = broken(); !why.ok()) {
      status = std::move(why);
      break;
    }
    if (status.ok() || IsFinal(status)) {
      break;
    }
    backoff = welcomed ? kBackoffFirst : backoff;
    spdlog::warn("worker {}: {}; dialling {} again in {}", options_.name, std::string(status.message()),
                 options_.join_address, absl::FormatDuration(backoff));
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), backoff)) {
      status = absl::OkStatus();
      break;
    }
    backoff = std::min(backoff * 2, options_.reconnect_backoff_max);
  }
  frames_.EndAll();
  commands_.Close();
  compute.join();
  return status;
}

proto::WorkerMessage Worker::HelloMessage() const {
  proto::WorkerMessage message;
  proto::Hello& hello = *message.mutable_hello();
  hello.set_version(options_.version);
  hello.set_name(options_.name);
  hello.set_memory_bytes(options_.memory_bytes);
  hello.set_host_memory_bytes(options_.host_memory_bytes);
  hello.set_threads(options_.threads > 0 ? options_.threads : static_cast<int>(std::thread::hardware_concurrency()));
  hello.set_device(device_->Describe());
  hello.set_exchange_address(exchange_address_);
  hello.set_rank_address(rank_address());
  hello.set_memory_domain(SharedMemoryDomain());
  return message;
}

proto::WorkerMessage Worker::HeartbeatMessage() const {
  proto::WorkerMessage message;
  message.mutable_heartbeat()->set_epoch(epoch_);
  message.mutable_heartbeat()->set_resident_bytes(ResidentBytes());
  message.mutable_heartbeat()->set_rank_address(rank_address());
  return message;
}

void Worker::OnMessage(Session& session, const std::shared_ptr<Outbox>& outbox, proto::CoordinatorMessage message) {
  if (message.has_welcome()) {
    absl::MutexLock lock(&mutex_);
    session.welcomed = true;
    session.heartbeat = absl::Milliseconds(std::clamp(message.welcome().heartbeat_ms(), 10, 60000));
  } else if (message.has_shutdown()) {
    spdlog::info("worker {}: the coordinator says shutdown: {}", options_.name, message.shutdown().reason());
    absl::MutexLock lock(&mutex_);
    session.shutdown = true;
  } else if (message.has_step()) {
    const int64_t epoch = message.step().epoch(), step = message.step().step_id();
    if (!commands_.Push(std::move(message), outbox).taken) {
      outbox->Send(FailureMessage(
          epoch, step,
          absl::ResourceExhaustedError(absl::StrFormat("%d steps wait already", CommandQueue::kStepsMax))));
    }
  } else if (message.has_load_adapter() || message.has_unload_adapter()) {
    commands_.Push(std::move(message), outbox);
  } else if (message.has_load() || message.has_unload() || message.has_end_epoch()) {
    // Whatever waits for activations of an older epoch stops now; frames are welcome again when the load is over.
    for (const int64_t epoch : commands_.Push(std::move(message), outbox).ended) frames_.End(epoch);
  }
}

// Sends heartbeats until the session ends. OK: this worker shall end. Otherwise why the connection is over.
absl::Status Worker::Serve(Session& session, Outbox& outbox) {
  absl::MutexLock lock(&mutex_);
  const auto over = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return session.ended || session.shutdown || stopping_ || !broken_.ok();
  };
  const auto greeted = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return session.welcomed || over(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&greeted), kWelcomeWait)) {
    return absl::DeadlineExceededError(absl::StrFormat("no welcome within %s", absl::FormatDuration(kWelcomeWait)));
  }
  for (absl::Time next = absl::Now(); !mutex_.AwaitWithDeadline(absl::Condition(&over), next);
       next += session.heartbeat) {
    mutex_.Unlock();
    outbox.Send(HeartbeatMessage());
    mutex_.Lock();
  }
  return session.ended && !session.shutdown && !stopping_ ? session.end : absl::OkStatus();
}

absl::Status Worker::JoinOnce(proto::Cluster::Stub& stub, bool* welcomed) {
  Session session;
  const auto outbox = std::make_shared<Outbox>();
  JoinStream stream([&](proto::CoordinatorMessage message) { OnMessage(session, outbox, std::move(message)); },
                    [&](absl::Status status) {
                      absl::MutexLock lock(&mutex_);
                      session.end = std::move(status);
                      session.ended = true;
                    });
  outbox->Open(stream);
  stream.Start(stub, options_.token);
  outbox->Send(HelloMessage());
  const absl::Status end = Serve(session, *outbox);
  if (!broken().ok()) absl::SleepFor(kLastWords);
  outbox->Close();
  // What was asked on this stream is of no use any more; the slice stays, the next stream may ask for the same.
  commands_.DropSteps();
  epoch_ = 0;
  frames_.EndAll();
  absl::MutexLock lock(&mutex_);
  *welcomed = session.welcomed;
  return end;
}

}  // namespace barn
