#include "tests/simt/nccl/meeting.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace barn::nccl {
namespace {

constexpr int kPollMs = 2;
constexpr std::chrono::milliseconds kPause{2};

// An abstract name: it goes with its socket, whatever becomes of the process.
std::pair<sockaddr_un, socklen_t> AddressOf(const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length)};
}

}  // namespace

Meeting::~Meeting() {
  for (const int socket : sockets_) {
    if (socket >= 0) close(socket);
  }
}

std::string Meeting::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

Result Meeting::Fail(Result result, std::string why) {
  const std::lock_guard lock(mutex_);
  last_error_ = std::move(why);
  return result;
}

void Meeting::Sleep() const {
  while (!cancelled_) std::this_thread::sleep_for(kPause);
}

bool Meeting::Await(int socket, short event) const {
  while (!cancelled_) {
    pollfd one = {.fd = socket, .events = event, .revents = 0};
    if (poll(&one, 1, kPollMs) > 0) return true;
  }
  return false;
}

bool Meeting::Read(int socket, void* data, size_t bytes) const {
  for (auto* at = static_cast<char*>(data); bytes > 0;) {
    if (!Await(socket, POLLIN)) return false;
    const ssize_t got = recv(socket, at, bytes, 0);
    if (got <= 0) {
      Sleep();
      return false;
    }
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

bool Meeting::Write(int socket, const void* data, size_t bytes) const {
  for (const auto* at = static_cast<const char*>(data); bytes > 0;) {
    if (!Await(socket, POLLOUT)) return false;
    const ssize_t put = send(socket, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && errno == EAGAIN) continue;
    if (put <= 0) {
      Sleep();
      return false;
    }
    at += put;
    bytes -= static_cast<size_t>(put);
  }
  return true;
}

Result Meeting::Connect() { return mine_.rank == 0 ? ConnectAsMiddle() : ConnectToMiddle(); }

Result Meeting::ConnectAsMiddle() {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto [address, length] = AddressOf(name_);
  sockets_.assign(static_cast<size_t>(mine_.ranks), -1);
  Result result = kSystemError;
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), length) == 0 && listen(listener, mine_.ranks) == 0) {
    result = Accept(listener);
  } else {
    Fail(result, "the id has served already");
  }
  close(listener);
  return result;
}

Result Meeting::Accept(int listener) {
  std::vector<Greeting> greetings(sockets_.size());
  greetings[0] = mine_;
  for (size_t there = 1; there < sockets_.size(); ++there) {
    if (!Await(listener, POLLIN)) return kInProgress;
    const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    Greeting greeting;
    if (!Read(socket, &greeting, sizeof(greeting))) return kInProgress;
    if (greeting.magic != mine_.magic || greeting.rank < 1 || greeting.rank >= mine_.ranks ||
        sockets_[static_cast<size_t>(greeting.rank)] >= 0) {
      close(socket);
      return Fail(kInvalidUsage, "a rank twice, or one that is none");
    }
    sockets_[static_cast<size_t>(greeting.rank)] = socket;
    greetings[static_cast<size_t>(greeting.rank)] = greeting;
  }
  const Result verdict = Judge(greetings);
  for (const int socket : sockets_) {
    if (socket >= 0 && !Write(socket, &verdict, sizeof(verdict))) return kInProgress;
  }
  return verdict;
}

Result Meeting::Judge(const std::vector<Greeting>& greetings) {
  for (const Greeting& one : greetings) {
    if (one.ranks != mine_.ranks || one.version != mine_.version) {
      return Fail(kInvalidUsage, "ranks differ in their number or version");
    }
    const auto same = [&](const Greeting& other) { return other.device == one.device; };
    if (std::count_if(greetings.begin(), greetings.end(), same) > 1) {
      return Fail(kInvalidUsage, "Duplicate GPU detected");
    }
  }
  return kSuccess;
}

Result Meeting::ConnectToMiddle() {
  const auto [address, length] = AddressOf(name_);
  const int middle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockets_ = {middle};
  while (connect(middle, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    if (cancelled_) return kInProgress;
    std::this_thread::sleep_for(kPause);
  }
  Result verdict = kSuccess;
  if (!Write(middle, &mine_, sizeof(mine_)) || !Read(middle, &verdict, sizeof(verdict))) return kInProgress;
  return verdict == kSuccess ? verdict : Fail(verdict, "rank 0 refused");
}

Result Meeting::Gather(const void* mine, size_t bytes, void* all) {
  ++round_;
  if (mine_.rank == 0) return GatherAsMiddle(mine, bytes, static_cast<std::byte*>(all));
  const int middle = sockets_[0];
  const Block block = {.round = round_, .bytes = bytes};
  Result verdict = kSuccess;
  if (!Write(middle, &block, sizeof(block)) || !Write(middle, mine, bytes) ||
      !Read(middle, &verdict, sizeof(verdict))) {
    return kInProgress;
  }
  if (verdict != kSuccess) return Fail(verdict, "ranks bring blocks of different sizes");
  return Read(middle, all, bytes * static_cast<size_t>(mine_.ranks)) ? kSuccess : kInProgress;
}

Result Meeting::GatherAsMiddle(const void* mine, size_t bytes, std::byte* all) {
  std::vector<std::byte> gathered(bytes * sockets_.size());
  std::memcpy(gathered.data(), mine, bytes);
  Result verdict = kSuccess;
  for (size_t rank = 1; rank < sockets_.size(); ++rank) {
    Block block;
    if (!Read(sockets_[rank], &block, sizeof(block))) return kInProgress;
    if (block.round != round_ || block.bytes != bytes) {
      verdict = Fail(kInternalError, "ranks bring blocks of different sizes");
      break;
    }
    if (!Read(sockets_[rank], gathered.data() + rank * bytes, bytes)) return kInProgress;
  }
  for (size_t rank = 1; rank < sockets_.size(); ++rank) {
    if (!Write(sockets_[rank], &verdict, sizeof(verdict))) return kInProgress;
    if (verdict == kSuccess && !Write(sockets_[rank], gathered.data(), gathered.size())) return kInProgress;
  }
  if (verdict == kSuccess) std::memcpy(all, gathered.data(), gathered.size());
  return verdict;
}

}  // namespace barn::nccl
