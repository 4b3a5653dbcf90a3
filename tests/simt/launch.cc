#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "tests/simt/block.h"
#include "tests/simt/device_memory.h"
#include "tests/simt/simt_stream.h"

namespace barn::simt {
namespace {

Options options;
std::atomic<int64_t> launches = 0;

// Blocks wait here between launches, since their stacks cost more to make than most kernels take.
absl::Mutex blocks_mutex(absl::kConstInit);
std::vector<std::unique_ptr<Block>>& IdleBlocks() {
  static auto* idle = new std::vector<std::unique_ptr<Block>>;
  return *idle;
}

std::unique_ptr<Block> TakeBlock() {
  absl::MutexLock lock(&blocks_mutex);
  if (IdleBlocks().empty()) return std::make_unique<Block>();
  std::unique_ptr<Block> block = std::move(IdleBlocks().back());
  IdleBlocks().pop_back();
  return block;
}

void GiveBack(std::unique_ptr<Block> block) {
  absl::MutexLock lock(&blocks_mutex);
  IdleBlocks().push_back(std::move(block));
}

// So few threads of a kernel that another OS thread would cost more than it saves.
constexpr uint64_t kThreadsToShare = 4096;

Index3 Nth(uint64_t n, Index3 grid) {
  return {static_cast<uint32_t>(n % grid.x), static_cast<uint32_t>(n / grid.x % grid.y),
          static_cast<uint32_t>(n / (uint64_t{grid.x} * grid.y))};
}

}  // namespace

void SetOptions(Options value) { options = value; }
Options GetOptions() { return options; }
int64_t Launches() { return launches; }

void RunGrid(const std::function<void()>& kernel, Index3 grid, Index3 dims, size_t dynamic_shared) {
  ++launches;
  const uint64_t threads = uint64_t{dims.x} * dims.y * dims.z;
  if (threads == 0 || threads > kBlockThreadsMax || dims.z > 64) {
    Fail(absl::StrFormat("a block of %d x %d x %d threads", dims.x, dims.y, dims.z), Site::current());
  }
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (blocks == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    Fail(absl::StrFormat("a grid of %d x %d x %d blocks", grid.x, grid.y, grid.z), Site::current());
  }
  if (dynamic_shared > kSharedBytesMax) {
    Fail(absl::StrFormat("%d bytes of shared memory, at most %d", dynamic_shared, kSharedBytesMax), Site::current());
  }
  std::atomic<uint64_t> next = 0;
  const auto work = [&] {
    std::unique_ptr<Block> block = TakeBlock();
    current_block = block.get();
    for (uint64_t n = next++; n < blocks; n = next++) {
      const uint64_t at = options.schedule == Schedule::kReverse ? blocks - 1 - n : n;
      block->Run(kernel, grid, Nth(at, grid), dims, dynamic_shared);
    }
    current_block = nullptr;
    GiveBack(std::move(block));
  };
  std::vector<std::thread> helpers;
  if (blocks * threads >= kThreadsToShare) {
    for (uint64_t i = 1; i < std::min<uint64_t>(blocks, static_cast<uint64_t>(options.os_threads)); ++i) {
      helpers.emplace_back([&] {
        AccessDeviceMemory access;
        work();
      });
    }
  }
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace barn::simt
