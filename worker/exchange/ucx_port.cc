#include "worker/exchange/ucx_port.h"

#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "worker/exchange/rank_message.h"
#include "worker/exchange/ucx_library.h"

namespace barn {
namespace {

constexpr unsigned kMessageId = 1;

// How a rank waits: first as fast as it can, for the usual gap between two ranks is microseconds; then it lets others
// have the core; and when something takes long (a rank loads, or died) it sleeps.
constexpr int64_t kPollsHot = 2000;
constexpr int64_t kPollsYielding = 100000;
constexpr absl::Duration kSleep = absl::Microseconds(50);
constexpr absl::Duration kGoodbyeWait = absl::Milliseconds(50);
constexpr int64_t kPollsPerLook = 256;  // At the clock, the stop token and the other processes.

absl::Status UcxError(const UcxLibrary& ucx, const char* what, ucs_status_t status) {
  return absl::UnavailableError(absl::StrCat("UCX: ", what, ": ", ucx.status_string(status)));
}

// An address is a process id and what UCX needs.
struct Address {
  int32_t pid = 0;
  std::string_view ucx;
};

absl::StatusOr<Address> ParseAddress(std::string_view bytes) {
  Address address;
  if (bytes.size() <= sizeof(address.pid) || bytes.size() > kUcxAddressBytesMax) {
    return absl::InvalidArgumentError(absl::StrFormat("a rank's address has %d bytes", bytes.size()));
  }
  std::memcpy(&address.pid, bytes.data(), sizeof(address.pid));
  address.ucx = bytes.substr(sizeof(address.pid));
  return address;
}

// Notices when a process ends, whatever becomes of its id.
class ProcessWatch {
 public:
  static absl::StatusOr<ProcessWatch> Start(int32_t pid) {
    const int file = pid == getpid() ? -1 : static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (file < 0 && pid != getpid()) {
      return absl::UnavailableError(absl::StrFormat("process %d: %s", pid, std::strerror(errno)));
    }
    return ProcessWatch(file);
  }
  ProcessWatch(ProcessWatch&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  ProcessWatch& operator=(ProcessWatch&&) = delete;
  ~ProcessWatch() {
    if (file_ >= 0) {
      close(file_);
    }
  }

  bool Ended() const {
    pollfd poll_file = {.fd = file_, .events = POLLIN, .revents = 0};
    return file_ >= 0 && poll(&poll_file, 1, 0) == 1;
  }

 private:
  explicit ProcessWatch(int file) : file_(file) {}
  int file_;
};

class Port;

class UcxCollective final : public Collective {
 public:
  UcxCollective(Port& port, const CollectiveOptions& options)
      : port_(port),
        options_(options),
        inbox_({.epoch = options.epoch,
                .token = options.token,
                .rank = options.rank,
                .ranks = ranks(),
                .floats_max = options.floats_max}) {}
  ~UcxCollective() override;
  absl::Status Connect();

  int rank() const override { return options_.rank; }
  int ranks() const override { return static_cast<int>(options_.addresses.size()); }
  absl::Status AllGather(const SharedRows& shared, const WaitBounds& wait) override;

  RankInbox& inbox() { return inbox_; }

 private:
  struct Peer {
    int rank;
    ucp_ep_h endpoint;
    ProcessWatch process;
  };

  absl::Status Exchange(const SharedRows& shared, const WaitBounds& wait);
  absl::Status SendBlock(const SharedRows& shared, const WaitBounds& wait);
  absl::Status Send(ucp_ep_h endpoint, const RankMessage& message, const WaitBounds& wait);
  // One poll that did not bring what the caller waits for.
  absl::Status Wait(int64_t polls, const WaitBounds& wait) const;
  RankMessage Message(RankMessage::Kind kind) const;

  Port& port_;
  const CollectiveOptions options_;
  RankInbox inbox_;
  std::vector<Peer> peers_;
  absl::Status status_;
};

// What UCX sends from until it says that it is done: the memory of a send that was given up stays with the port.
struct Outgoing {
  RankMessage message;
  float values[RankMessage::kChunkFloats];
};

class Port final : public UcxPort {
 public:
  explicit Port(const UcxLibrary& ucx) : ucx_(ucx) {}

  ~Port() override {
    if (worker_ != nullptr) {
      ucx_.worker_destroy(worker_);
    }
    if (context_ != nullptr) {
      ucx_.cleanup(context_);
    }
  }

  absl::Status Start();
  const std::string& transport() const override { return transport_; }
  const std::string& address() const override { return address_; }
  absl::StatusOr<std::unique_ptr<Collective>> Join(const CollectiveOptions& options) override;

  const UcxLibrary& ucx() const { return ucx_; }
  bool Progress() { return ucx_.worker_progress(worker_) != 0; }
  absl::StatusOr<ucp_ep_h> Endpoint(std::string_view address);
  void Leave(const UcxCollective* collective) {
    std::erase_if(joined_, [collective](const auto& one) { return one.second == collective; });
  }
  Outgoing& outgoing() { return *outgoing_; }
  // The request that sends outgoing() may never end.
  void AbandonOutgoing() { abandoned_.push_back(std::exchange(outgoing_, std::make_unique<Outgoing>())); }

 private:
  absl::Status MakeContext();
  static ucs_status_t OnMessage(void* port, const void* header, size_t header_bytes, void* data, size_t bytes,
                                const ucp_am_recv_param_t* param);

  const UcxLibrary& ucx_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  const std::string transport_ = "UCX";
  std::string address_;
  std::map<std::string, ucp_ep_h, std::less<>> endpoints_;  // By UCX address; they end with the worker.
  std::map<int64_t, UcxCollective*> joined_;                // By epoch.
  std::unique_ptr<Outgoing> outgoing_ = std::make_unique<Outgoing>();
  std::vector<std::unique_ptr<Outgoing>> abandoned_;
};

absl::Status Port::MakeContext() {
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucx_.config_read(nullptr, nullptr, &config); status != UCS_OK) {
    return UcxError(ucx_, "settings", status);
  }
  // Shared memory only: nothing listens on a network. Everything is copied through the queues: what reads another
  // process's memory (CMA) breaks when that process dies.
  const std::pair<const char*, const char*> settings[] = {{"TLS", "posix,sysv"}, {"RNDV_THRESH", "inf"}};
  ucs_status_t status = UCS_OK;
  for (const auto& [name, value] : settings) {
    status = status == UCS_OK ? ucx_.config_modify(config, name, value) : status;
  }
  ucp_params_t params = {};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM;
  if (status == UCS_OK) {
    status = ucx_.init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context_);
  }
  ucx_.config_release(config);
  return status == UCS_OK ? absl::OkStatus() : UcxError(ucx_, "shared memory", status);
}

absl::Status Port::Start() {
  BARN_RETURN_IF_ERROR(MakeContext());
  ucp_worker_params_t params = {};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucs_status_t status = ucx_.worker_create(context_, &params, &worker_);
  if (status != UCS_OK) {
    return UcxError(ucx_, "worker", status);
  }
  ucp_am_handler_param_t handler = {};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.cb = &Port::OnMessage;
  handler.arg = this;
  status = ucx_.worker_set_am_recv_handler(worker_, &handler);
  ucp_address_t* address = nullptr;
  size_t length = 0;
  if (status == UCS_OK) {
    status = ucx_.worker_get_address(worker_, &address, &length);
  }
  if (status != UCS_OK) {
    return UcxError(ucx_, "address", status);
  }
  const int32_t pid = getpid();
  address_.assign(reinterpret_cast<const char*>(&pid), sizeof(pid));
  address_.append(reinterpret_cast<const char*>(address), length);
  ucx_.worker_release_address(worker_, address);
  return ParseAddress(address_).status();
}

ucs_status_t Port::OnMessage(void* port, const void* header, size_t header_bytes, void* data, size_t bytes,
                             const ucp_am_recv_param_t* param) {
  // A rendezvous has no data yet, and none of ours makes one.
  RankMessage message;
  if (header_bytes != sizeof(message) || (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    return UCS_OK;
  }
  std::memcpy(&message, header, sizeof(message));
  auto& joined = static_cast<Port*>(port)->joined_;
  if (const auto found = joined.find(message.epoch); found != joined.end()) {
    found->second->inbox().Receive({static_cast<const char*>(header), header_bytes},
                                   {static_cast<const char*>(data), bytes});
  }
  return UCS_OK;
}

absl::StatusOr<ucp_ep_h> Port::Endpoint(std::string_view address) {
  if (const auto found = endpoints_.find(address); found != endpoints_.end()) {
    return found->second;
  }
  ucp_ep_params_t params = {};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  ucp_ep_h endpoint = nullptr;
  if (const ucs_status_t status = ucx_.ep_create(worker_, &params, &endpoint); status != UCS_OK) {
    return UcxError(ucx_, "rank", status);
  }
  endpoints_.emplace(address, endpoint);
  return endpoint;
}

absl::StatusOr<std::unique_ptr<Collective>> Port::Join(const CollectiveOptions& options) {
  const auto ranks = static_cast<int>(options.addresses.size());
  if (ranks < 2 || ranks > kRankPortRanksMax || options.rank < 0 || options.rank >= ranks || options.floats_max < 1 ||
      options.floats_max > kSharedFloatsMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d of %d that share up to %d values", options.rank, ranks, options.floats_max));
  }
  if (options.token.empty() || options.token.size() > RankMessage::kTokenBytes ||
      options.token.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrFormat("ranks need a secret of 1 to %d bytes, this has %d",
                                                      RankMessage::kTokenBytes, options.token.size()));
  }
  if (options.addresses[options.rank] != address_) {
    return absl::UnavailableError(
        absl::StrFormat("rank %d is planned at an address that it no longer has", options.rank));
  }
  auto collective = std::make_unique<UcxCollective>(*this, options);
  BARN_RETURN_IF_ERROR(collective->Connect());
  joined_[options.epoch] = collective.get();
  return collective;
}

absl::Status UcxCollective::Connect() {
  for (int rank = 0; rank < ranks(); ++rank) {
    if (rank == options_.rank) {
      continue;
    }
    BARN_ASSIGN_OR_RETURN(const Address address, ParseAddress(options_.addresses[rank]));
    BARN_ASSIGN_OR_RETURN(ProcessWatch process, ProcessWatch::Start(address.pid));
    BARN_ASSIGN_OR_RETURN(const ucp_ep_h endpoint, port_.Endpoint(address.ucx));
    peers_.push_back({.rank = rank, .endpoint = endpoint, .process = std::move(process)});
  }
  return absl::OkStatus();
}

UcxCollective::~UcxCollective() {
  // Best effort: a rank that waits for us hears it sooner than from the coordinator.
  for (const Peer& peer : peers_) {
    if (!peer.process.Ended()) {
      Send(peer.endpoint, Message(RankMessage::kGoodbye), {.deadline = absl::Now() + kGoodbyeWait}).IgnoreError();
    }
  }
  port_.Leave(this);
}

RankMessage UcxCollective::Message(RankMessage::Kind kind) const {
  RankMessage message;
  std::memcpy(message.token, options_.token.data(), options_.token.size());
  message.epoch = options_.epoch;
  message.round = inbox_.round();
  message.rank = options_.rank;
  message.ranks = ranks();
  message.kind = kind;
  return message;
}

absl::Status UcxCollective::AllGather(const SharedRows& shared, const WaitBounds& wait) {
  if (!status_.ok()) {
    return status_;
  }
  if (static_cast<int>(shared.bounds.size()) != ranks() + 1 || shared.rows < 1 ||
      shared.rows > options_.floats_max / shared.bounds.back()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d ranks share %d rows; %d values are the most", ranks(), shared.rows, options_.floats_max));
  }
  status_ = Exchange(shared, wait);
  inbox_.End();
  return status_;
}

absl::Status UcxCollective::Exchange(const SharedRows& shared, const WaitBounds& wait) {
  BARN_RETURN_IF_ERROR(inbox_.Begin(shared));
  BARN_RETURN_IF_ERROR(SendBlock(shared, wait));
  for (int64_t polls = 0; !inbox_.complete(); ++polls) {
    if (port_.Progress()) {
      polls = 0;
      BARN_RETURN_IF_ERROR(inbox_.status());
    } else {
      BARN_RETURN_IF_ERROR(Wait(polls, wait));
    }
  }
  return absl::OkStatus();
}

absl::Status UcxCollective::SendBlock(const SharedRows& shared, const WaitBounds& wait) {
  RankMessage message = Message(RankMessage::kChunk);
  message.total = shared.rows * (shared.bounds[options_.rank + 1] - shared.bounds[options_.rank]);
  while (message.offset < message.total) {
    message.count = static_cast<int32_t>(std::min(RankMessage::kChunkFloats, message.total - message.offset));
    for (const Peer& peer : peers_) {
      PackBlock(shared, options_.rank, message.offset, message.count, port_.outgoing().values);
      BARN_RETURN_IF_ERROR(Send(peer.endpoint, message, wait));
    }
    message.offset += message.count;
  }
  return absl::OkStatus();
}

// Sends a message and the first message.count values of port_.outgoing().
absl::Status UcxCollective::Send(ucp_ep_h endpoint, const RankMessage& message, const WaitBounds& wait) {
  Outgoing& out = port_.outgoing();
  out.message = message;
  ucp_request_param_t param = {};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  void* const request = port_.ucx().am_send_nbx(endpoint, kMessageId, &out.message, sizeof(out.message), out.values,
                                                message.count * sizeof(float), &param);
  if (request == nullptr) {
    return absl::OkStatus();  // Copied to the queue.
  }
  if (UCS_PTR_IS_ERR(request)) {
    return UcxError(port_.ucx(), "send", UCS_PTR_STATUS(request));
  }
  absl::Status status;
  ucs_status_t sent = UCS_INPROGRESS;
  for (int64_t polls = 0; status.ok(); ++polls) {
    sent = port_.ucx().request_check_status(request);
    if (sent != UCS_INPROGRESS) {
      status = sent == UCS_OK ? absl::OkStatus() : UcxError(port_.ucx(), "send", sent);
      break;
    }
    if (port_.Progress()) {
      polls = 0;
      status = inbox_.status();
    } else {
      status = Wait(polls, wait);
    }
  }
  if (sent == UCS_INPROGRESS) {
    port_.AbandonOutgoing();
  }
  port_.ucx().request_free(request);
  return status;
}

absl::Status UcxCollective::Wait(int64_t polls, const WaitBounds& wait) const {
  if (polls < kPollsHot && polls % kPollsPerLook != 0) {
    return absl::OkStatus();
  }
  if (wait.stop.stop_requested()) {
    return absl::AbortedError(absl::StrFormat("epoch %d ended in mid-step", options_.epoch));
  }
  if (polls < kPollsHot) {
    return absl::OkStatus();
  }
  if (polls < kPollsYielding) {
    sched_yield();
  } else {
    absl::SleepFor(kSleep);
  }
  if (polls % kPollsPerLook != 0) {
    return absl::OkStatus();
  }
  BARN_RETURN_IF_ERROR(inbox_.status());
  for (const Peer& peer : peers_) {
    if (peer.process.Ended()) {
      return absl::UnavailableError(absl::StrFormat("the process of rank %d ended", peer.rank));
    }
  }
  if (absl::Now() >= wait.deadline) {
    return absl::DeadlineExceededError(absl::StrFormat("call %d: the other ranks did not answer", inbox_.round()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxPort>> UcxPort::Open() {
  BARN_ASSIGN_OR_RETURN(const UcxLibrary* const ucx, LoadUcx());
  auto port = std::make_unique<Port>(*ucx);
  BARN_RETURN_IF_ERROR(port->Start());
  return port;
}

}  // namespace barn
