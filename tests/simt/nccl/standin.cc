// A library with NCCL's binary interface for the simulated devices of the program that loads it (target barn_simt_nccl,
// found by BARN_NCCL as a real one by its name). It is as late as NCCL may be: an exchange stands on the stream only
// when GetAsyncError has said so, and runs when somebody waits for the stream. What goes wrong is told by
// BARN_SIMT_NCCL, words with commas between them:
//   version=22809        what ncclGetVersion says
//   fail-init=RANK       this rank's init fails; hang-init=RANK: it never comes
//   silent=RANK:COUNT    this rank takes part in COUNT exchanges and then hangs once, with all that waits for its
//   device
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "tests/simt/nccl/meeting.h"
#include "tests/simt/simt_exports.h"
#include "worker/exchange/nccl_abi.h"

namespace barn::nccl {
namespace {

// What a word of BARN_SIMT_NCCL is set to; empty: it is not there.
std::string Setting(const char* word) {
  const char* all = std::getenv("BARN_SIMT_NCCL");
  const std::string text = all == nullptr ? "" : std::string(",") + all + ",";
  const std::string key = std::string(",") + word + "=";
  const size_t at = text.find(key);
  if (at == std::string::npos) return "";
  return text.substr(at + key.size(), text.find(',', at + 1) - at - key.size());
}

bool IsFor(const std::string& setting, int rank) { return !setting.empty() && std::atoi(setting.c_str()) == rank; }

// Counted since the setting is as it is, over all communicators of the process.
bool HangsNow(int rank) {
  static std::mutex mutex;
  static std::string known;
  static int exchanges = 0;
  const std::string silent = Setting("silent");
  const size_t colon = silent.find(':');
  if (!IsFor(silent, rank) || colon == std::string::npos) return false;
  const std::lock_guard lock(mutex);
  if (known != silent) exchanges = 0;
  known = silent;
  return exchanges++ == std::atoi(silent.c_str() + colon + 1);
}

int Version() {
  const std::string set = Setting("version");
  return set.empty() ? 22809 : std::atoi(set.c_str());
}

}  // namespace

// What exchanges on a stream share with the communicator, which may be aborted before they run.
struct Shared {
  Shared(const UniqueId& id, int ranks, int rank)
      : meeting(std::string(id.bytes, strnlen(id.bytes, sizeof(id.bytes))), ranks, rank, barn_simt_device(),
                Version()) {}

  Meeting meeting;
  std::mutex mutex;
  Result state = kInProgress;
};

struct Exchange {
  std::shared_ptr<Shared> shared;
  const void* sent;
  void* received;
  size_t bytes;

  static void Run(void* argument);
};

struct Comm {
  std::shared_ptr<Shared> shared;
  std::thread init;
  std::unique_ptr<Exchange> pending;  // Not on the stream yet.
  void* stream = nullptr;
  int asked = 0;  // Since it is pending.
};

void Exchange::Run(void* argument) {
  const std::unique_ptr<Exchange> exchange(static_cast<Exchange*>(argument));
  Shared& shared = *exchange->shared;
  Meeting& meeting = shared.meeting;
  if (meeting.cancelled()) return;
  if (HangsNow(meeting.rank())) {
    meeting.Sleep();
    return;
  }
  const Result result = meeting.Gather(exchange->sent, exchange->bytes, exchange->received);
  const std::lock_guard lock(shared.mutex);
  if (result != kSuccess && result != kInProgress) shared.state = result;
}

namespace {

void Init(const std::shared_ptr<Shared>& shared) {
  const int rank = shared->meeting.rank();
  if (IsFor(Setting("hang-init"), rank)) shared->meeting.Sleep();
  const Result result = IsFor(Setting("fail-init"), rank) ? kUnhandledCudaError : shared->meeting.Connect();
  const std::lock_guard lock(shared->mutex);
  shared->state = result;
}

thread_local std::string last_error;

}  // namespace
}  // namespace barn::nccl

using namespace barn::nccl;

extern "C" {

Result ncclGetVersion(int* version) {
  *version = Version();
  return kSuccess;
}

Result ncclGetUniqueId(UniqueId* id) {
  std::random_device random;
  std::memset(id, 0, sizeof(*id));
  std::snprintf(id->bytes, sizeof(id->bytes), "barn-simt-nccl-%08x%08x%08x", random(), random(), random());
  return kSuccess;
}

Result ncclCommInitRankConfig(Comm** comm, int ranks, UniqueId id, int rank, Config* config) {
  *comm = nullptr;
  if (config == nullptr || config->magic != 0xcafebeef || config->blocking != 0 || config->size < sizeof(Config) ||
      ranks < 1 || rank < 0 || rank >= ranks) {
    return kInvalidArgument;
  }
  *comm = new Comm;
  (*comm)->shared = std::make_shared<Shared>(id, ranks, rank);
  (*comm)->init = std::thread(Init, (*comm)->shared);
  return kInProgress;
}

Result ncclCommGetAsyncError(Comm* comm, Result* result) {
  const std::lock_guard lock(comm->shared->mutex);
  if (comm->pending != nullptr && ++comm->asked > 1) {
    const Exchange& one = *comm->pending;
    const size_t all = one.bytes * static_cast<size_t>(one.shared->meeting.ranks());
    void* const received = one.received;
    barn_simt_enqueue(static_cast<CUstream_st*>(comm->stream), one.sent, one.bytes, received, all, Exchange::Run,
                      comm->pending.release());
    comm->shared->state = kSuccess;
  }
  *result = comm->shared->state;
  return kSuccess;
}

Result ncclAllGather(const void* sent, void* received, size_t count, DataType type, Comm* comm, void* stream) {
  const std::lock_guard lock(comm->shared->mutex);
  if (type != kFloat32 || stream == nullptr || comm->shared->state != kSuccess) return kInvalidUsage;
  comm->pending.reset(new Exchange{comm->shared, sent, received, count * sizeof(float)});
  comm->stream = stream;
  comm->asked = 0;
  comm->shared->state = kInProgress;
  return kInProgress;
}

Result ncclCommAbort(Comm* comm) {
  comm->shared->meeting.Cancel();
  comm->init.join();
  delete comm;
  return kSuccess;
}

const char* ncclGetErrorString(Result result) {
  constexpr const char* kTexts[] = {"no error",
                                    "unhandled cuda error",
                                    "unhandled system error",
                                    "internal error",
                                    "invalid argument",
                                    "invalid usage",
                                    "remote process exited or there was a network error",
                                    "in progress"};
  return result >= 0 && result <= kInProgress ? kTexts[result] : "unknown result code";
}

const char* ncclGetLastError(Comm* comm) {
  last_error = comm == nullptr ? "" : comm->shared->meeting.last_error();
  return last_error.c_str();
}

}  // extern "C"
