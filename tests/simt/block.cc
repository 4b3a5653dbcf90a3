#include "tests/simt/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_format.h"
#include "kernels/check.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace barn::simt {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
constexpr size_t kPageBytes = 4096;
constexpr char kPoison = '\xff';  // As floats NaN, as integers -1.
constexpr char kGuardByte = '\xfb';

std::string Describe(Index3 i) { return absl::StrFormat("%d,%d,%d", i.x, i.y, i.z); }

bool SamePlace(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

thread_local Block* current_block = nullptr;

void Fail(const std::string& what, Site site) {
  std::string who;
  if (current_block != nullptr) {
    who = absl::StrFormat(" (block %s, thread %s)", Describe(current_block->index()),
                          Describe(current_block->self().index));
  }
  std::fprintf(stderr, "simt: %s%s at %s:%u\n", what.c_str(), who.c_str(), site.file_name(), site.line());
  std::abort();
}

Block::Block() : shared_(kSharedBytesMax + 64 * kGuardBytes) {
  void* stacks = mmap(nullptr, kBlockThreadsMax * kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  BARN_CHECK(stacks != MAP_FAILED);
  stacks_ = static_cast<char*>(stacks);
}

Block::~Block() { munmap(stacks_, kBlockThreadsMax * kStackBytes); }

// Not inlined: a fiber meets blocks of other OS threads, and the address of a thread_local must not outlive a block.
__attribute__((noinline)) void Block::RunThread() {
  (*current_block->kernel_)();
  current_block->Finish();
}

void Block::Entry() {
  FiberStarted();
  for (;;) RunThread();  // A fiber is used again for the next block.
}

void Block::Run(const std::function<void()>& kernel, Index3 grid, Index3 index, Index3 dims, size_t dynamic_shared) {
  kernel_ = &kernel;
  grid_ = grid;
  index_ = index;
  dims_ = dims;
  options_ = GetOptions();
  random_ = (options_.seed + 1) * 0x9e3779b97f4a7c15 ^ ((index.z * 65537ull + index.y) * 65537ull + index.x + 1);
  count_ = live_ = dims.x * dims.y * dims.z;
  while (threads_.size() < count_) {
    const size_t i = threads_.size();
    threads_.push_back(std::make_unique<Thread>());
    char* stack = stacks_ + i * kStackBytes;
    BARN_CHECK(mprotect(stack, kPageBytes, PROT_NONE) == 0);  // An overflow must not write over a neighbour's stack.
    // Tops at different distances: at equal ones all stacks would compete for the same sets of the cache.
    threads_[i]->fiber.Start(&Entry, stack + kPageBytes, kStackBytes - kPageBytes - i % 16 * 448);
  }
  warps_.resize((count_ + kWarpLanes - 1) / kWarpLanes);
  ready_warps_ = 0;
  for (Warp& warp : warps_) warp.ready = warp.live = 0;
  for (uint32_t i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    thread.index = {i % dims.x, i / dims.x % dims.y, i / (dims.x * dims.y)};
    thread.linear = i;
    thread.warp = i / kWarpLanes;
    thread.lane = i % kWarpLanes;
    warps_[thread.warp].live |= 1u << thread.lane;
    MakeReady(thread.warp, 1u << thread.lane);
  }
  at_barrier_ = 0;
  shared_arrays_.clear();
  guards_.clear();
  dynamic_bytes_ = dynamic_shared;
  Guard(0);
  std::memset(shared_.data() + kGuardBytes, kPoison, dynamic_shared);
  shared_top_ = kGuardBytes + dynamic_shared;
  Guard(shared_top_);
  shared_top_ += kGuardBytes;

  current_warp_ = 0;
  self_ = Next();
  SwitchFiber(host_, self_->fiber);
  CheckGuards();
}

uint32_t Block::Pick(uint32_t bits) {
  switch (options_.schedule) {
    case Schedule::kForward:
      return static_cast<uint32_t>(std::countr_zero(bits));
    case Schedule::kReverse:
      return 31u - static_cast<uint32_t>(std::countl_zero(bits));
    case Schedule::kRandom:
      break;
  }
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const int turn = static_cast<int>(random_ >> 32 & 31);
  return (static_cast<uint32_t>(std::countr_zero(std::rotr(bits, turn))) + static_cast<uint32_t>(turn)) & 31;
}

void Block::MakeReady(uint32_t warp, uint32_t lanes) {
  warps_[warp].ready |= lanes;
  ready_warps_ |= 1u << warp;
}

// Null when nobody could run.
Thread* Block::Next() {
  if (ready_warps_ == 0) return nullptr;
  const bool stays = (ready_warps_ >> current_warp_ & 1) != 0 && options_.schedule != Schedule::kRandom;
  if (!stays) current_warp_ = Pick(ready_warps_);
  Warp& warp = warps_[current_warp_];
  const uint32_t lane = Pick(warp.ready);
  warp.ready &= ~(1u << lane);
  if (warp.ready == 0) ready_warps_ &= ~(1u << current_warp_);
  return threads_[current_warp_ * kWarpLanes + lane].get();
}

// Returns when the thread that calls is chosen again.
void Block::Yield() {
  Thread* me = self_;
  Thread* next = Next();
  if (next == me) return;
  if (next == nullptr) {
    if (live_ > 0) ReportDeadlock();
    SwitchFiber(me->fiber, host_);
    return;
  }
  self_ = next;
  SwitchFiber(me->fiber, next->fiber);
}

void Block::Finish() {
  Thread& me = *self_;
  if (!me.open_copies.empty() || !me.copy_groups.empty()) {
    Fail("the thread returns while copies that it started are not waited for", Site::current());
  }
  warps_[me.warp].live &= ~(1u << me.lane);
  --live_;
  Yield();
}

void Block::SyncThreads(Site site) {
  Thread& me = *self_;
  if (live_ < count_) Fail("__syncthreads after a thread of the block has returned", site);
  if (at_barrier_ > 0 && !SamePlace(site, barrier_site_)) {
    Fail(absl::StrFormat("threads of a block wait at different __syncthreads: the other is %s:%d",
                         barrier_site_.file_name(), barrier_site_.line()),
         site);
  }
  barrier_site_ = site;
  if (++at_barrier_ == count_) {
    at_barrier_ = 0;
    for (uint32_t w = 0; w < warps_.size(); ++w) MakeReady(w, warps_[w].live);
    // This thread waits for its turn like the others: who goes first after a barrier is the schedule's choice.
  } else {
    me.waits_for = "__syncthreads";
    me.site = site;
  }
  Yield();
  me.waits_for = nullptr;
}

const LaneValues* Block::Exchange(const char* operation, uint32_t mask, const LaneValues& mine, Site site) {
  Thread& me = *self_;
  Warp& warp = warps_[me.warp];
  const uint32_t lanes = std::min(kWarpLanes, count_ - me.warp * kWarpLanes);
  if (lanes < kWarpLanes) mask &= (1u << lanes) - 1;
  if ((mask >> me.lane & 1) == 0) Fail(absl::StrFormat("%s: the lane is not in its own mask", operation), site);
  if ((mask & ~warp.live) != 0) Fail(absl::StrFormat("%s: a lane of the mask has returned", operation), site);
  Meeting* meeting = nullptr;
  for (const auto& candidate : warp.meetings) {
    if (candidate->mask == mask) meeting = candidate.get();
  }
  if (meeting == nullptr) {
    warp.meetings.push_back(std::make_unique<Meeting>());
    meeting = warp.meetings.back().get();
    meeting->mask = mask;
  }
  if (meeting->arrived != 0 && !SamePlace(meeting->site, site)) {
    Fail(absl::StrFormat("lanes of a warp meet in different operations: here %s, others in %s at %s:%d", operation,
                         meeting->operation, meeting->site.file_name(), meeting->site.line()),
         site);
  }
  meeting->site = site;
  meeting->operation = operation;
  const LaneValues* values = meeting->values[meeting->round & 1];
  meeting->values[meeting->round & 1][me.lane] = mine;
  meeting->arrived |= 1u << me.lane;
  if (meeting->arrived == mask) {
    meeting->arrived = 0;
    ++meeting->round;
    MakeReady(me.warp, mask & ~(1u << me.lane));
    if (options_.schedule != Schedule::kRandom) return values;  // The last to come goes on; saves a switch.
    MakeReady(me.warp, 1u << me.lane);
    Yield();
    return values;
  }
  me.waits_for = operation;
  me.site = site;
  Yield();
  me.waits_for = nullptr;
  return values;
}

void* Block::Shared(SharedSite& site, size_t bytes, size_t alignment) {
  for (const SharedArray& array : shared_arrays_) {
    if (array.site == &site) return shared_.data() + array.offset;
  }
  alignment = std::max<size_t>(alignment, 16);
  const size_t offset = (shared_top_ + alignment - 1) / alignment * alignment;
  size_t used = dynamic_bytes_ + bytes;
  for (const SharedArray& array : shared_arrays_) used += array.bytes;
  if (used > kSharedBytesMax || offset + bytes + kGuardBytes > shared_.size()) {
    Fail(absl::StrFormat("%s: %d bytes of shared memory in one block, at most %d", site.name, used, kSharedBytesMax),
         Site::current());
  }
  std::memset(shared_.data() + offset, kPoison, bytes);
  shared_arrays_.push_back({&site, offset, bytes});
  Guard(offset + bytes);
  shared_top_ = offset + bytes + kGuardBytes;
  return shared_.data() + offset;
}

bool Block::IsStackGuard(const void* memory) const {
  const auto* p = static_cast<const char*>(memory);
  return p >= stacks_ && p < stacks_ + kBlockThreadsMax * kStackBytes &&
         static_cast<size_t>(p - stacks_) % kStackBytes < kPageBytes;
}

void Block::Guard(size_t offset) {
  std::memset(shared_.data() + offset, kGuardByte, kGuardBytes);
  guards_.push_back(offset);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(shared_.data() + offset, kGuardBytes);
#endif
}

void Block::CheckGuards() {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(shared_.data(), shared_.size());
#endif
  for (const size_t offset : guards_) {
    for (size_t i = 0; i < kGuardBytes; ++i) {
      if (shared_[offset + i] == kGuardByte) continue;
      const char* name = "the dynamic array";
      for (const SharedArray& array : shared_arrays_) {
        if (array.offset + array.bytes == offset) name = array.site->name;
      }
      Fail(absl::StrFormat("a write beyond shared memory: %d bytes behind %s", i, name), Site::current());
    }
  }
}

void Block::ReportDeadlock() {
  for (const auto& thread : threads_) {
    if (thread->waits_for == nullptr || thread->linear >= count_) continue;
    self_ = thread.get();
    Fail(absl::StrFormat("deadlock: %s waits for threads that never come", thread->waits_for), thread->site);
  }
  std::abort();
}

}  // namespace barn::simt
