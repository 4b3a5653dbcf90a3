#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Row of KvLayer::k and v, counted in heads' rows, of `position` of a sequence with these blocks.
inline int64_t KvRow(const KvLayer& kv, std::span<const int32_t> blocks, int64_t position, int64_t kv_head) {
  return (blocks[position / kv.block_tokens] * kv.kv_heads + kv_head) * kv.block_tokens + position % kv.block_tokens;
}

// Writes rows [row_begin, row_end) of k [T, kv_heads * k_width] and v [T, kv_heads * v_width] to their KV blocks.
// f16 values beyond the largest finite half become that half, so that no infinity enters the cache; for Q8_0
// and Q4_0 see FloatKernels::float_to_q8 and float_to_q4.
void WriteKvRows(Isa isa, const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v,
                 int64_t row_begin, int64_t row_end);

void CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies);

// Reads keys and values of one KV head of a sequence as f32. Borrows all that it is given.
class KvReader {
 public:
  KvReader(const FloatKernels& kernels, const KvLayer& kv, std::span<const int32_t> blocks, int64_t kv_head)
      : kernels_(kernels), kv_(kv), blocks_(blocks), kv_head_(kv_head) {}

  // Keys of positions [begin, end) to rows of `stride` floats, zeros behind a key. Positions up to `next_end` will be
  // asked for next, as many at a time.
  void Keys(int64_t begin, int64_t end, int64_t next_end, float* out, int64_t stride) const;
  void Values(int64_t begin, int64_t end, int64_t next_end, float* out, int64_t stride) const;

  // Where the codes and scales of Q8_0 or Q4_0 keys or values of positions [begin, end) lie.
  void KeyRows(int64_t begin, int64_t end, const void** rows, const uint16_t** scales) const;
  void ValueRows(int64_t begin, int64_t end, const void** rows, const uint16_t** scales) const;

 private:
  struct Plane {
    const void* elements;
    const uint16_t* scales;
    int64_t stored_width;
  };
  Plane Keys() const { return {kv_.k, kv_.k_scales, kv_.k_width}; }
  Plane Values() const { return kv_.v_is_k_prefix ? Keys() : Plane{kv_.v, kv_.v_scales, kv_.v_width}; }
  void Locate(const Plane& plane, int64_t begin, int64_t end, const void** rows, const uint16_t** scales) const;
  void ReadRow(const Plane& plane, int64_t width, int64_t row, float* out) const;
  void Read(const Plane& plane, int64_t width, int64_t begin, int64_t end, int64_t next_end, float* out,
            int64_t stride) const;

  const FloatKernels& kernels_;
  const KvLayer& kv_;
  std::span<const int32_t> blocks_;
  int64_t kv_head_;
};

}  // namespace barn
