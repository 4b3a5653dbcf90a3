#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/work_log.h"
#include "kernels/formats/half.h"
#include "tests/simt/block.h"
#include "tests/simt/device_memory.h"
#include "tests/simt/mma.h"
#include "tests/simt/simt_stream.h"

// The CUDA dialect of a kernel file, for g++: its words and functions as kernels/cuda/gpu_nvcc.h describes them.
// Where a call stands in the source is its last argument, so that a report can name it.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define BARN_UNROLL _Pragma("GCC unroll 16")
#define BARN_UNROLL_FROM_80 BARN_UNROLL
#define BARN_SITE_PARAM , ::barn::simt::Site site = ::barn::simt::Site::current()
#define BARN_SITE , site
// A reference to an array of the block.
#define BARN_SHARED(T, name, dims)                    \
  static ::barn::simt::SharedSite name##_site{#name}; \
  using name##_type = T dims;                         \
  name##_type& name = *static_cast<name##_type*>(     \
      ::barn::simt::current_block->Shared(name##_site, sizeof(name##_type), alignof(name##_type)))

#define threadIdx (::barn::simt::current_block->self().index)
#define blockIdx (::barn::simt::current_block->index())
#define blockDim (::barn::simt::current_block->dims())
#define gridDim (::barn::simt::current_block->grid())

struct dim3 {
  uint32_t x, y, z;
  dim3(uint32_t x = 1, uint32_t y = 1, uint32_t z = 1) : x(x), y(y), z(z) {}
  operator barn::simt::Index3() const { return {x, y, z}; }
};
struct alignas(4) char4 {
  signed char x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace barn::simt {

template <class T>
LaneValues Pack(T value) {
  static_assert(sizeof(T) <= sizeof(LaneValues) && std::is_trivially_copyable_v<T>);
  LaneValues packed;
  std::memcpy(&packed, &value, sizeof(T));
  return packed;
}
template <class T>
T Unpack(const LaneValues& packed) {
  T value;
  std::memcpy(&value, &packed, sizeof(T));
  return value;
}
inline uint32_t Lane() { return current_block->self().lane; }

template <class T>
T Shuffle(const char* operation, uint32_t mask, T value, uint32_t source, Site site) {
  const LaneValues* values = current_block->Exchange(operation, mask, Pack(value), site);
  if ((mask >> source & 1) == 0) Fail(std::string(operation) + " reads a lane outside the mask", site);
  return Unpack<T>(values[source]);
}
inline uint32_t Ballot(const char* operation, uint32_t mask, bool vote, Site site) {
  const LaneValues* values = current_block->Exchange(operation, mask, Pack<uint32_t>(vote), site);
  uint32_t votes = 0;
  for (uint32_t lane = 0; lane < kWarpLanes; ++lane) {
    if ((mask >> lane & 1) != 0 && Unpack<uint32_t>(values[lane]) != 0) votes |= 1u << lane;
  }
  return votes;
}

}  // namespace barn::simt

// ---- CUDA's own functions.

inline void __syncthreads(barn::simt::Site site = barn::simt::Site::current()) {
  barn::simt::current_block->SyncThreads(site);
}
inline void __syncwarp(uint32_t mask = ~0u, barn::simt::Site site = barn::simt::Site::current()) {
  barn::simt::current_block->Exchange("__syncwarp", mask, {}, site);
}
template <class T>
T __shfl_sync(uint32_t mask, T value, int source BARN_SITE_PARAM) {
  return barn::simt::Shuffle("__shfl_sync", mask, value, static_cast<uint32_t>(source) & 31, site);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits BARN_SITE_PARAM) {
  return barn::simt::Shuffle("__shfl_xor_sync", mask, value, (barn::simt::Lane() ^ static_cast<uint32_t>(bits)) & 31,
                             site);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta BARN_SITE_PARAM) {
  const uint32_t lane = barn::simt::Lane();
  return barn::simt::Shuffle("__shfl_down_sync", mask, value, lane + delta < 32 ? lane + delta : lane, site);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta BARN_SITE_PARAM) {
  const uint32_t lane = barn::simt::Lane();
  return barn::simt::Shuffle("__shfl_up_sync", mask, value, lane >= delta ? lane - delta : lane, site);
}
inline uint32_t __ballot_sync(uint32_t mask, int vote BARN_SITE_PARAM) {
  return barn::simt::Ballot("__ballot_sync", mask, vote != 0, site);
}
inline int __any_sync(uint32_t mask, int vote BARN_SITE_PARAM) {
  return barn::simt::Ballot("__any_sync", mask, vote != 0, site) != 0;
}
inline int __all_sync(uint32_t mask, int vote BARN_SITE_PARAM) {
  return barn::simt::Ballot("__all_sync", mask, vote == 0, site) == 0;
}
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

// Blocks run on several OS threads.
template <class T, class Function>
T barn_simt_update(T* p, Function function, barn::simt::Site site) {
  if (!barn::simt::current_block->IsShared(p)) barn::simt::CheckAccess("atomic operation", p, sizeof(T), site);
  std::atomic_ref<T> reference(*p);
  T before = reference.load();
  while (!reference.compare_exchange_weak(before, function(before))) {
  }
  return before;
}
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> value BARN_SITE_PARAM) {
  return barn_simt_update(
      p, [value](T before) { return before + value; }, site);
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> value BARN_SITE_PARAM) {
  return barn_simt_update(
      p, [value](T before) { return std::max(before, value); }, site);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> value BARN_SITE_PARAM) {
  return barn_simt_update(
      p, [value](T) { return value; }, site);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value BARN_SITE_PARAM) {
  return barn_simt_update(
      p, [=](T before) { return before == expected ? value : before; }, site);
}

// c + the sum of four products of signed bytes.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
// Byte i of the result is byte (selector's nibble i) of the eight bytes x, y; bit 3 of a nibble spreads its sign.
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t bytes = x | static_cast<uint64_t>(y) << 32;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    const auto byte = static_cast<uint8_t>(bytes >> (8 * (nibble & 7)));
    result |= static_cast<uint32_t>(nibble < 8 ? byte : byte >= 128 ? 255 : 0) << (8 * i);
  }
  return result;
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<uint32_t>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<uint32_t>(x)) + 1; }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyintf(value)); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

namespace barn::gpu {

struct KernelWork {
  template <class... Params>
  static void Run(Stream stream, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                  Params... params) {
    simt::Enqueue(stream, [=, all = std::tuple<Params...>(params...)] {
      simt::RunGrid([&] { std::apply(kernel, all); }, grid, block, shared_bytes);
    });
  }
};
template <class... Params, class... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream, Args... args) {
  if (Logged<KernelWork>(stream, kernel, grid, block, shared_bytes, static_cast<Params>(args)...)) return;
  KernelWork::Run(stream, kernel, grid, block, shared_bytes, static_cast<Params>(args)...);
}

template <class T>
T Ld(const T* p BARN_SITE_PARAM) {
  simt::CheckAccess("load", p, sizeof(T), site);
  return *p;
}
template <class T>
T LdStream(const T* p BARN_SITE_PARAM) {
  simt::CheckAccess("load", p, sizeof(T), site);
  return *p;
}
template <class T>
T LdShared(const T* p BARN_SITE_PARAM) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0) simt::Fail("misaligned load of shared memory", site);
  return *p;
}
template <class T>
T* Settled(T* p) {
  return p;
}
template <class T>
void St(T* p, std::type_identity_t<T> value BARN_SITE_PARAM) {
  simt::CheckAccess("store", p, sizeof(T), site);
  *p = value;
}

template <class T>
T* DynamicShared() {
  return static_cast<T*>(simt::current_block->dynamic_shared());
}

inline float HalfToFloat(uint16_t bits) { return barn::HalfToFloat(bits); }
inline uint16_t FloatToHalf(float value) { return barn::FloatToHalf(value); }
inline uint32_t FloatsToHalves(float low, float high) {
  return barn::FloatToHalf(low) | static_cast<uint32_t>(barn::FloatToHalf(high)) << 16;
}

// Nothing is copied before it is waited for.
inline void CopyAsync16(void* shared, const void* global, simt::Site site = simt::Site::current()) {
  simt::CheckAccess("asynchronous copy", global, 16, site);
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0) simt::Fail("misaligned asynchronous copy", site);
  simt::current_block->self().open_copies.push_back({shared, global});
}
inline void CommitCopies() {
  simt::Thread& self = simt::current_block->self();
  self.copy_groups.push_back(std::move(self.open_copies));
  self.open_copies.clear();
}
template <int kGroups>
void WaitCopies() {
  auto& groups = simt::current_block->self().copy_groups;
  while (groups.size() > static_cast<size_t>(kGroups)) {
    for (const simt::PendingCopy& copy : groups.front()) std::memcpy(copy.to, copy.from, 16);
    groups.erase(groups.begin());
  }
}

inline void MmaS8K16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, simt::Site site = simt::Site::current()) {
  simt::MmaS8K16(d, a, b, site);
}
inline void MmaS8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  simt::Site site = simt::Site::current()) {
  simt::MmaS8(d, a, b, site);
}
inline void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                   simt::Site site = simt::Site::current()) {
  simt::MmaF16(d, a, b, site);
}

}  // namespace barn::gpu
