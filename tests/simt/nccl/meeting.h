#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "worker/exchange/nccl_abi.h"

namespace barn::nccl {

// Ranks in threads or processes of one machine that meet under a name: a star of Unix sockets with rank 0 in the
// middle. A rank that dies is silent, as it is for NCCL when ranks share memory.
class Meeting {
 public:
  // name: of an abstract socket.
  Meeting(std::string name, int ranks, int rank, int device, int version)
      : name_(std::move(name)), mine_({.ranks = ranks, .rank = rank, .device = device, .version = version}) {}
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  // Returns when all ranks are there, or with what they disagree on: InvalidUsage (a device twice, numbers of ranks
  // that differ). InProgress: cancelled.
  Result Connect();
  // Every rank's `bytes` to all, in the order of ranks. InternalError: another rank brings another number.
  // InProgress: cancelled, as everybody is at last who waits for a rank that is gone.
  Result Gather(const void* mine, size_t bytes, void* all);
  // Ends waits of other threads.
  void Cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }
  // Returns when somebody cancels.
  void Sleep() const;

  int rank() const { return mine_.rank; }
  int ranks() const { return mine_.ranks; }
  std::string last_error() const;

 private:
  struct Greeting {
    int64_t magic = 0x6c63636e6e726162;
    int ranks = 0;
    int rank = 0;
    int device = 0;
    int version = 0;
  };
  struct Block {
    int64_t round = 0;
    uint64_t bytes = 0;
  };

  Result ConnectAsMiddle();
  Result Accept(int listener);
  Result Judge(const std::vector<Greeting>& greetings);
  Result ConnectToMiddle();
  Result GatherAsMiddle(const void* mine, size_t bytes, std::byte* all);
  Result Fail(Result result, std::string why);
  // Whole pieces; false: cancelled, or the other end is gone and then somebody has cancelled.
  bool Read(int socket, void* data, size_t bytes) const;
  bool Write(int socket, const void* data, size_t bytes) const;
  bool Await(int socket, short event) const;

  const std::string name_;
  const Greeting mine_;
  std::vector<int> sockets_;  // The middle: of each rank. Others: the middle's.
  int64_t round_ = 0;
  std::atomic<bool> cancelled_ = false;
  mutable std::mutex mutex_;
  std::string last_error_;
};

}  // namespace barn::nccl
