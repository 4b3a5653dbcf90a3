#include "tests/simt/device_memory.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "kernels/check.h"
#include "tests/simt/access_trace.h"

namespace barn::simt {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kAlignment = 256;
constexpr size_t kReserved = size_t{64} << 30;  // Addresses, not memory.
constexpr unsigned char kSlackByte = 0xfb;

size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

struct Allocation {
  char* pages = nullptr;  // First page.
  char* begin = nullptr;
  size_t bytes = 0;
  int device = 0;
  char* end() const { return begin + bytes; }
  char* pages_end() const { return pages + RoundUp(static_cast<size_t>(end() - pages), kPage); }
};

struct Pinned {
  size_t bytes = 0;
  int reads = 0, writes = 0;  // Copies that have not run.
};

// Everything that the process knows; never destroyed, since the fault handler reads it.
struct Memory {
  absl::Mutex mutex;
  char* base = nullptr;
  size_t used = 0;                 // Addresses given out, from base.
  Allocation** owner = nullptr;    // Of each page from base on; null: of none. Read without the lock.
  std::vector<Allocation*> live;   // In no order.
  std::map<int, size_t> in_use;    // Bytes by device.
  std::map<char*, Pinned> pinned;  // By first byte.
  int key = -1;                    // Protection key; -1: pages are opened for the whole process.
  int open = 0;                    // Without a key: threads with access.
};

thread_local int access_depth = 0;

Memory& Mem();

void SetAccess(Memory& memory, bool allowed) {
  if (memory.key >= 0) {
    BARN_CHECK(pkey_set(memory.key, allowed ? 0 : PKEY_DISABLE_ACCESS) == 0);
    return;
  }
  absl::MutexLock lock(&memory.mutex);
  const bool was_open = memory.open > 0;
  memory.open += allowed ? 1 : -1;
  if (was_open == (memory.open > 0) || memory.used == 0) return;
  for (const Allocation* a : memory.live) {
    const auto bytes = static_cast<size_t>(a->pages_end() - a->pages);
    BARN_CHECK(mprotect(a->pages, bytes, allowed ? PROT_READ | PROT_WRITE : PROT_NONE) == 0);
  }
}

// Where an address lies, in words; without locks, since the process is dying.
std::string Locate(const Memory& memory, const char* p) {
  const Allocation* before = nullptr;
  for (const Allocation* a : memory.live) {
    if (p >= a->begin && p < a->end()) return absl::StrFormat("byte %d of an allocation of %d", p - a->begin, a->bytes);
    if (a->end() <= p && (before == nullptr || before->end() < a->end())) before = a;
  }
  if (before == nullptr) return "in no allocation";
  return absl::StrFormat("in no live allocation; %d bytes behind the end of one of %d", p - before->end(),
                         before->bytes);
}

void OnFault(int signal, siginfo_t* info, void*) {
  Memory& memory = Mem();
  const char* p = static_cast<const char*>(info->si_addr);
  const Site here = Site::current();
  if (p >= memory.base && p < memory.base + kReserved) {
    const std::string where = Locate(memory, p);
    if (current_block != nullptr) Fail("a kernel touches " + where, here);
    if (access_depth > 0) Fail("a copy touches " + where, here);
    Fail("the host touches device memory (" + where + "): it has to copy, and wait for the copy", here);
  }
  for (const auto& [begin, pinned] : memory.pinned) {
    if (p < begin || p >= begin + pinned.bytes) continue;
    Fail(absl::StrFormat("the host touches byte %d of pinned memory (%d bytes) that a copy still has to %s: wait for "
                         "its stream first",
                         p - begin, pinned.bytes, pinned.writes > 0 ? "write" : "read"),
         here);
  }
  if (current_block != nullptr && current_block->IsStackGuard(p)) Fail("a thread's stack overflows", here);
  ::signal(signal, SIG_DFL);  // Not ours: the access is repeated, and meets what would have been.
}

void InstallHandler() {
  struct sigaction action = {};
  action.sa_sigaction = &OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  BARN_CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
}

// The handler cannot run on a stack that has overflowed.
void UseSignalStack() {
  thread_local std::vector<char> stack;
  if (!stack.empty()) return;
  stack_t old = {};
  if (sigaltstack(nullptr, &old) == 0 && (old.ss_flags & SS_DISABLE) == 0) return;  // A sanitizer has set one.
  stack.resize(64 * 1024);
  const stack_t now = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  BARN_CHECK(sigaltstack(&now, nullptr) == 0);
}

Memory& Mem() {
  static Memory* memory = [] {
    auto* made = new Memory;
    const int lazily = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* base = mmap(nullptr, kReserved, PROT_NONE, lazily, -1, 0);
    void* owner = mmap(nullptr, kReserved / kPage * sizeof(Allocation*), PROT_READ | PROT_WRITE, lazily, -1, 0);
    BARN_CHECK(base != MAP_FAILED && owner != MAP_FAILED);
    made->base = static_cast<char*>(base);
    made->owner = static_cast<Allocation**>(owner);
    made->key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
    InstallHandler();
    return made;
  }();
  return *memory;
}

void FillSlack(const Allocation& a) {
  std::memset(a.pages, kSlackByte, static_cast<size_t>(a.begin - a.pages));
  std::memset(a.end(), kSlackByte, static_cast<size_t>(a.pages_end() - a.end()));
}

bool AllSlack(const char* from, const char* to) {
  return std::all_of(from, to, [](char c) { return static_cast<unsigned char>(c) == kSlackByte; });
}

const Allocation* Find(const void* p) {
  const Memory& memory = Mem();
  const auto* at = static_cast<const char*>(p);
  if (at < memory.base || at >= memory.base + kReserved) return nullptr;
  return memory.owner[static_cast<size_t>(at - memory.base) / kPage];
}

void ProtectPinned(char* begin, const Pinned& pinned) {
  const int allowed = pinned.writes > 0 ? PROT_NONE : pinned.reads > 0 ? PROT_READ : PROT_READ | PROT_WRITE;
  BARN_CHECK(mprotect(begin, RoundUp(pinned.bytes, kPage), allowed) == 0);
}

std::map<char*, Pinned>::iterator FindPinned(Memory& memory, const void* p, size_t bytes) {
  auto* at = static_cast<char*>(const_cast<void*>(p));
  auto it = memory.pinned.upper_bound(at);
  if (it == memory.pinned.begin()) return memory.pinned.end();
  --it;
  return at + bytes <= it->first + it->second.bytes ? it : memory.pinned.end();
}

}  // namespace

AccessDeviceMemory::AccessDeviceMemory() {
  UseSignalStack();
  if (access_depth++ == 0) SetAccess(Mem(), true);
}

AccessDeviceMemory::~AccessDeviceMemory() {
  if (--access_depth == 0) SetAccess(Mem(), false);
}

absl::StatusOr<void*> AllocateOn(int device, size_t bytes, size_t limit) {
  bytes = std::max<size_t>(bytes, 1);
  Memory& memory = Mem();
  auto a = std::make_unique<Allocation>();
  {
    absl::MutexLock lock(&memory.mutex);
    size_t& in_use = memory.in_use[device];
    if (bytes > limit || in_use > limit - bytes) {
      return absl::ResourceExhaustedError(absl::StrFormat("device %d: %d bytes wanted, %d of %d are free", device,
                                                          bytes, limit - std::min(in_use, limit), limit));
    }
    // The end meets the end of a page as closely as the alignment allows; behind it one page stays closed.
    const size_t pages = RoundUp(bytes, kPage);
    BARN_CHECK(memory.used + pages + kPage <= kReserved);
    in_use += bytes;
    a->pages = memory.base + memory.used;
    a->begin = a->pages + pages - RoundUp(bytes, kAlignment);
    a->bytes = bytes;
    a->device = device;
    std::fill_n(memory.owner + memory.used / kPage, pages / kPage, a.get());
    memory.used += pages + kPage;
    memory.live.push_back(a.get());
    const int allowed = memory.key >= 0 || memory.open > 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
    BARN_CHECK((memory.key >= 0 ? pkey_mprotect(a->pages, pages, allowed, memory.key)
                                : mprotect(a->pages, pages, allowed)) == 0);
  }
  AccessDeviceMemory access;
  FillSlack(*a);
  std::memset(a->begin, 0xff, bytes);
  return a.release()->begin;
}

void FreeOn(void* p) {
  if (p == nullptr) return;
  auto* a = const_cast<Allocation*>(Find(p));
  if (a == nullptr || a->begin != p) Fail("what is freed is not the start of a live allocation", Site::current());
  CheckSlack();
  Memory& memory = Mem();
  absl::MutexLock lock(&memory.mutex);
  const auto pages = static_cast<size_t>(a->pages_end() - a->pages);
  std::fill_n(memory.owner + static_cast<size_t>(a->pages - memory.base) / kPage, pages / kPage, nullptr);
  std::erase(memory.live, a);
  memory.in_use[a->device] -= a->bytes;
  BARN_CHECK(mprotect(a->pages, pages, PROT_NONE) == 0 && madvise(a->pages, pages, MADV_DONTNEED) == 0);
  delete a;
}

void CheckRange(const char* what, const void* p, size_t bytes, Site site) {
  const Allocation* a = Find(p);
  const auto* at = static_cast<const char*>(p);
  if (a != nullptr && at >= a->begin && bytes <= a->bytes && at + bytes <= a->end()) [[likely]]
    return;
  Fail(absl::StrFormat("%s of %d bytes at %p: %s", what, bytes, p, Locate(Mem(), at)), site);
}

void CheckAccess(const char* what, const void* p, size_t bytes, Site site) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
    Fail(absl::StrFormat("misaligned %s: %d bytes at %p", what, bytes, p), site);
  }
  CheckRange(what, p, bytes, site);
  if (AccessTrace* trace = AccessTrace::Active()) trace->Record(p, bytes);
}

void CheckSlack() {
  AccessDeviceMemory access;
  Memory& memory = Mem();
  absl::MutexLock lock(&memory.mutex);
  for (const Allocation* a : memory.live) {
    if (AllSlack(a->pages, a->begin) && AllSlack(a->end(), a->pages_end())) continue;
    Fail(absl::StrFormat("a write beside an allocation of %d bytes", a->bytes), Site::current());
  }
}

absl::StatusOr<void*> AllocatePinnedPages(size_t bytes) {
  Memory& memory = Mem();
  bytes = std::max<size_t>(bytes, 1);
  void* pages = mmap(nullptr, RoundUp(bytes, kPage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrFormat("pinned memory: %d bytes wanted", bytes));
  }
  absl::MutexLock lock(&memory.mutex);
  memory.pinned[static_cast<char*>(pages)] = {.bytes = bytes};
  return pages;
}

void FreePinnedPages(void* p) {
  if (p == nullptr) return;
  Memory& memory = Mem();
  absl::MutexLock lock(&memory.mutex);
  const auto it = memory.pinned.find(static_cast<char*>(p));
  if (it == memory.pinned.end()) Fail("what is freed is not the start of pinned memory", Site::current());
  if (it->second.reads + it->second.writes > 0) {
    Fail("pinned memory is freed before its copies were waited for", Site::current());
  }
  munmap(p, RoundUp(it->second.bytes, kPage));
  memory.pinned.erase(it);
}

void HoldPinned(const void* p, size_t bytes, Hold hold) {
  Memory& memory = Mem();
  absl::MutexLock lock(&memory.mutex);
  const auto it = FindPinned(memory, p, bytes);
  if (it == memory.pinned.end()) {
    Fail(absl::StrFormat("an asynchronous copy of %d bytes with memory of the host that is not pinned", bytes),
         Site::current());
  }
  ++(hold == Hold::kWrite ? it->second.writes : it->second.reads);
  ProtectPinned(it->first, it->second);
}

void ReleasePinned(const void* p, Hold hold) {
  Memory& memory = Mem();
  absl::MutexLock lock(&memory.mutex);
  const auto it = FindPinned(memory, p, 1);
  BARN_CHECK(it != memory.pinned.end());
  --(hold == Hold::kWrite ? it->second.writes : it->second.reads);
  ProtectPinned(it->first, it->second);
}

}  // namespace barn::simt
