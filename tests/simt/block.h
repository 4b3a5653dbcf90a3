#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "tests/simt/fiber.h"

namespace barn::simt {

using Site = std::source_location;

// Who runs first where the hardware promises nothing: lanes and warps from the lowest or from the highest on, or as a
// seeded generator says, which also leaves a warp between any two of its operations.
enum class Schedule { kForward, kReverse, kRandom };

struct Options {
  Schedule schedule = Schedule::kForward;
  uint64_t seed = 1;
  int os_threads = 1;  // Blocks are spread over so many.
};
// For launches from now on. Not while one runs.
void SetOptions(Options options);
Options GetOptions();

// What built for any architecture of the list must live with: the smallest limit among them.
inline constexpr size_t kSharedBytesMax = 99 * 1024;
inline constexpr uint32_t kWarpLanes = 32;
inline constexpr uint32_t kBlockThreadsMax = 1024;

struct Index3 {
  uint32_t x = 0, y = 0, z = 0;
};

// Copies that a thread has started and not waited for.
struct PendingCopy {
  void* to;
  const void* from;
};

// What a warp operation carries from a lane to the others.
struct LaneValues {
  uint32_t words[6];
};

// Lanes of one warp that meet in operations with one mask. Two buffers: a lane may be in the next operation before
// another has read the values of this one, but not in the one after that.
struct Meeting {
  uint32_t mask = 0;
  uint32_t arrived = 0;
  uint32_t round = 0;
  const char* operation = nullptr;
  Site site;
  LaneValues values[2][kWarpLanes];
};

struct Warp {
  uint32_t ready = 0;  // Lanes that could run.
  uint32_t live = 0;   // Lanes that have not returned.
  std::vector<std::unique_ptr<Meeting>> meetings;
};

// One thread of the kernel.
struct Thread {
  Index3 index;
  uint32_t linear = 0, warp = 0, lane = 0;
  Fiber fiber;
  const char* waits_for = nullptr;  // Null: it does not wait.
  Site site;                        // Of the operation that it waits in.
  std::vector<PendingCopy> open_copies;
  std::vector<std::vector<PendingCopy>> copy_groups;
};

// Where a kernel declares shared memory; one object for each place and template instance.
struct SharedSite {
  const char* name;
};

// The threads of one block, run one at a time on one OS thread until all have returned. What the hardware would let
// happen by luck (a barrier that not all reach, lanes that meet in different operations) stops the process with a line
// that names file, line, block and thread.
class Block {
 public:
  Block();
  ~Block();

  // dims: at most 1024 threads.
  void Run(const std::function<void()>& kernel, Index3 grid, Index3 index, Index3 dims, size_t dynamic_shared);

  // For the thread that runs.
  Thread& self() { return *self_; }
  Index3 index() const { return index_; }
  Index3 dims() const { return dims_; }
  Index3 grid() const { return grid_; }
  void SyncThreads(Site site);
  // Gives `mine` to the lanes of `mask`, which all must call this from the same place, and returns theirs, by lane.
  const LaneValues* Exchange(const char* operation, uint32_t mask, const LaneValues& mine, Site site);
  // Memory of the block for one declaration: 0xff before the first use in a block, between guards.
  void* Shared(SharedSite& site, size_t bytes, size_t alignment);
  void* dynamic_shared() { return shared_.data() + kGuardBytes; }
  bool IsShared(const void* memory) const {
    const auto* p = static_cast<const char*>(memory);
    return p >= shared_.data() && p < shared_.data() + shared_.size();
  }
  // Whether it lies where a thread's stack must not grow to.
  bool IsStackGuard(const void* memory) const;

 private:
  static constexpr size_t kGuardBytes = 64;
  struct SharedArray {
    const SharedSite* site;
    size_t offset, bytes;
  };

  static void Entry();
  static void RunThread();
  void Finish();
  Thread* Next();
  void Yield();
  uint32_t Pick(uint32_t bits);
  void MakeReady(uint32_t warp, uint32_t lanes);
  void Guard(size_t offset);
  void CheckGuards();
  [[noreturn]] void ReportDeadlock();

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  char* stacks_ = nullptr;
  Fiber host_;
  Thread* self_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  Index3 grid_, index_, dims_;
  Options options_;
  uint64_t random_ = 1;

  uint32_t count_ = 0, live_ = 0;
  uint32_t ready_warps_ = 0, current_warp_ = 0;
  uint32_t at_barrier_ = 0;
  Site barrier_site_;

  std::vector<char> shared_;
  size_t shared_top_ = 0, dynamic_bytes_ = 0;
  std::vector<SharedArray> shared_arrays_;
  std::vector<size_t> guards_;
};

// The block whose thread runs on this OS thread; null on the host's own stack.
extern thread_local Block* current_block;

// Prints "simt: what (block .., thread ..) at file:line" and stops the process.
[[noreturn]] void Fail(const std::string& what, Site site);

// Runs every block of the grid; `kernel` is called once by each thread.
void RunGrid(const std::function<void()>& kernel, Index3 grid, Index3 dims, size_t dynamic_shared);

}  // namespace barn::simt
