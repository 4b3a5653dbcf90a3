#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/work_log.h"

// What gpu.h offers to kernels, in CUDA. The simulator's twin is gpu_simt.h; both describe each function the same way.

#define BARN_SHARED(T, name, dims) __shared__ T name dims
#define BARN_UNROLL _Pragma("unroll")
// For a loop around products of tensor cores: sm_75 takes two to four instructions for one, and runs out of registers.
#if __CUDA_ARCH__ >= 800
#define BARN_UNROLL_FROM_80 BARN_UNROLL
#else
#define BARN_UNROLL_FROM_80 _Pragma("unroll 1")
#endif
// Where a lane is in the source: a parameter for functions that wrap a warp operation. Only the simulator uses it.
#define BARN_SITE_PARAM
#define BARN_SITE

namespace barn::gpu {

struct KernelWork {
  template <class... Params>
  static void Run(Stream stream, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                  Params... params) {
    if (shared_bytes > 48 * 1024) {
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes));
    }
    kernel<<<grid, block, shared_bytes, stream>>>(params...);
  }
};
// Starts kernel<<<grid, block>>> on the stream, or writes it down for later. An error is kept by the runtime:
// Synchronize reports it.
template <class... Params, class... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream, Args... args) {
  if (Logged<KernelWork>(stream, kernel, grid, block, shared_bytes, static_cast<Params>(args)...)) return;
  KernelWork::Run(stream, kernel, grid, block, shared_bytes, static_cast<Params>(args)...);
}

// Loads from device memory: read-only for the kernel; read once (weights); and what other threads of it may write.
template <class T>
__device__ __forceinline__ T Ld(const T* p) {
  return __ldg(p);
}
template <class T>
__device__ __forceinline__ T LdStream(const T* p) {
  return __ldcs(p);
}
template <class T>
__device__ __forceinline__ T LdShared(const T* p) {
  return *p;
}
template <class T>
__device__ __forceinline__ void St(T* p, T value) {
  *p = value;
}

// The same pointer, as one value in registers: what is added to it later is one addition. Left alone, the compiler
// takes its parts together anew for every load of a loop.
template <class T>
__device__ __forceinline__ T* Settled(T* p) {
  asm("" : "+l"(p));
  return p;
}

// The dynamic shared memory of the block, 16-byte aligned.
template <class T>
__device__ __forceinline__ T* DynamicShared() {
  extern __shared__ __align__(16) unsigned char barn_dynamic_shared[];
  return reinterpret_cast<T*>(barn_dynamic_shared);
}

__device__ __forceinline__ float HalfToFloat(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ __forceinline__ uint16_t FloatToHalf(float value) { return __half_as_ushort(__float2half_rn(value)); }
// Two halves, the first in the low bits.
__device__ __forceinline__ uint32_t FloatsToHalves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// 16 bytes from device to shared memory, there when WaitCopies says so. Both addresses are multiples of 16.
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
#else
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
// The copies since the last call become one group.
__device__ __forceinline__ void CommitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most kGroups of this thread's groups are on their way; the block must meet at a barrier before other
// threads read what this one copied.
template <int kGroups>
__device__ __forceinline__ void WaitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

// The tensor cores' products, by all lanes of a warp together (PTX ISA, "Matrix fragments for mma"). With g = lane / 4
// and q = lane % 4, in all of them d[i] is row g + 8 (i / 2), column 2 q + i % 2 of the 16 x 8 result.

// d += a x b, int8: a 16 x 16, b 16 x 8. a[i]: row g + 8 i, columns 4 q .. + 3; b: rows 4 q .. + 3, column g.
__device__ __forceinline__ void MmaS8K16(int (&d)[4], const uint32_t (&a)[2], uint32_t b) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
#else
  BARN_UNROLL for (int i = 0; i < 2; ++i) {
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1},{%2},{%3},{%0,%1};"
        : "+r"(d[2 * i]), "+r"(d[2 * i + 1])
        : "r"(a[i]), "r"(b));
  }
#endif
}
// d += a x b, int8: a 16 x 32, b 32 x 8. a[i], b[i]: a[i % 2] and b of MmaS8K16, of columns or rows 16 (i / 2), 16 i
// on.
__device__ __forceinline__ void MmaS8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  MmaS8K16(d, {a[0], a[1]}, b[0]);
  MmaS8K16(d, {a[2], a[3]}, b[1]);
#endif
}
// d += a x b, f16 with f32 sums: a 16 x 16, b 16 x 8. a[i]: row g + 8 (i % 2), columns 2 q + 8 (i / 2) and the next, in
// the low and high half; b[i]: rows 2 q + 8 i and the next, column g.
__device__ __forceinline__ void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  BARN_UNROLL for (int i = 0; i < 2; ++i) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2 * i]), "r"(a[2 * i + 1]), "r"(b[i]));
  }
#endif
}

}  // namespace barn::gpu
