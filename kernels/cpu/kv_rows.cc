#include "kernels/cpu/kv_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/check.h"

namespace barn {
namespace {

void WriteRow(const FloatKernels& kernels, KvType type, const float* values, int64_t width, int64_t row, void* elements,
              uint16_t* scales) {
  switch (type) {
    case KvType::kF16:
      kernels.float_to_half(values, static_cast<uint16_t*>(elements) + row * width, width);
      return;
    case KvType::kF32:
      std::memcpy(static_cast<float*>(elements) + row * width, values, width * sizeof(float));
      return;
    case KvType::kQ8_0:
      kernels.float_to_q8(values, static_cast<int8_t*>(elements) + row * width, scales + row * KvScales(width), width);
      return;
    case KvType::kQ4_0:
      kernels.float_to_q4(values, static_cast<uint8_t*>(elements) + row * KvCodeBytes(type, width),
                          scales + row * KvScales(width), width);
      return;
  }
}

}  // namespace

void WriteKvRows(Isa isa, const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v,
                 int64_t row_begin, int64_t row_end) {
  const FloatKernels& kernels = FloatKernelsFor(isa);
  BARN_CHECK(k.cols == kv.kv_heads * kv.k_width && (kv.v_is_k_prefix || v.cols == kv.kv_heads * kv.v_width));
  for (const SequenceRows& sequence : sequences) {
    const int64_t begin = std::max(row_begin, sequence.first_row);
    const int64_t end = std::min(row_end, sequence.first_row + sequence.rows);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t position = sequence.first_position + r - sequence.first_row;
      BARN_CHECK(position / kv.block_tokens < static_cast<int64_t>(sequence.blocks.size()));
      for (int64_t head = 0; head < kv.kv_heads; ++head) {
        const int64_t row = KvRow(kv, sequence.blocks, position, head);
        WriteRow(kernels, kv.type, k.row(r) + head * kv.k_width, kv.k_width, row, kv.k, kv.k_scales);
        if (kv.v_is_k_prefix) continue;
        WriteRow(kernels, kv.type, v.row(r) + head * kv.v_width, kv.v_width, row, kv.v, kv.v_scales);
      }
    }
  }
}

void CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) {
  const int64_t rows = kv.kv_heads * kv.block_tokens;
  const auto copy = [&](void* plane, int64_t row_bytes) {
    if (plane == nullptr) return;
    auto* bytes = static_cast<std::byte*>(plane);
    for (const auto& [from, to] : copies) {
      BARN_CHECK(from >= 0 && to >= 0 && from != to);
      std::memcpy(bytes + to * rows * row_bytes, bytes + from * rows * row_bytes,
                  static_cast<size_t>(rows * row_bytes));
    }
  };
  const int64_t scale_bytes = KvHasScales(kv.type) ? int64_t{sizeof(uint16_t)} : 0;
  copy(kv.k, KvCodeBytes(kv.type, kv.k_width));
  copy(kv.k_scales, KvScales(kv.k_width) * scale_bytes);
  if (kv.v_is_k_prefix) return;
  copy(kv.v, KvCodeBytes(kv.type, kv.v_width));
  copy(kv.v_scales, KvScales(kv.v_width) * scale_bytes);
}

void KvReader::Keys(int64_t begin, int64_t end, int64_t next_end, float* out, int64_t stride) const {
  Read(Keys(), kv_.k_width, begin, end, next_end, out, stride);
}

void KvReader::Values(int64_t begin, int64_t end, int64_t next_end, float* out, int64_t stride) const {
  Read(Values(), kv_.v_width, begin, end, next_end, out, stride);
}

void KvReader::KeyRows(int64_t begin, int64_t end, const void** rows, const uint16_t** scales) const {
  Locate(Keys(), begin, end, rows, scales);
}

void KvReader::ValueRows(int64_t begin, int64_t end, const void** rows, const uint16_t** scales) const {
  Locate(Values(), begin, end, rows, scales);
}

void KvReader::Locate(const Plane& plane, int64_t begin, int64_t end, const void** rows,
                      const uint16_t** scales) const {
  BARN_CHECK(KvHasScales(kv_.type));
  const int64_t row_bytes = KvCodeBytes(kv_.type, plane.stored_width);
  while (begin < end) {
    const int64_t first = KvRow(kv_, blocks_, begin, kv_head_);
    const int64_t count = std::min(end - begin, kv_.block_tokens - begin % kv_.block_tokens);  // In one block.
    for (int64_t row = first; row < first + count; ++row) {
      *rows++ = static_cast<const std::byte*>(plane.elements) + row * row_bytes;
      *scales++ = plane.scales + row * KvScales(plane.stored_width);
    }
    begin += count;
  }
}

void KvReader::ReadRow(const Plane& plane, int64_t width, int64_t row, float* out) const {
  const int64_t first = row * plane.stored_width;
  switch (kv_.type) {
    case KvType::kF16:
      kernels_.half_to_float(static_cast<const uint16_t*>(plane.elements) + first, out, width);
      return;
    case KvType::kF32:
      std::memcpy(out, static_cast<const float*>(plane.elements) + first, width * sizeof(float));
      return;
    case KvType::kQ8_0:
      kernels_.q8_to_float(static_cast<const int8_t*>(plane.elements) + first,
                           plane.scales + row * KvScales(plane.stored_width), out, width);
      return;
    case KvType::kQ4_0:
      kernels_.q4_to_float(
          static_cast<const uint8_t*>(plane.elements) + row * KvCodeBytes(kv_.type, plane.stored_width),
          plane.scales + row * KvScales(plane.stored_width), out, width);
      return;
  }
}

void KvReader::Read(const Plane& plane, int64_t width, int64_t begin, int64_t end, int64_t next_end, float* out,
                    int64_t stride) const {
  const int64_t row_bytes = KvCodeBytes(kv_.type, plane.stored_width), read_bytes = KvCodeBytes(kv_.type, width);
  for (int64_t p = begin; p < end; ++p, out += stride) {
    // The next positions may lie in another block, which the hardware cannot foresee.
    const int64_t ahead = p + (end - begin);
    if (ahead < next_end) {
      const auto* next =
          static_cast<const std::byte*>(plane.elements) + KvRow(kv_, blocks_, ahead, kv_head_) * row_bytes;
      for (int64_t byte = 0; byte < read_bytes; byte += 64) __builtin_prefetch(next + byte, 0, 2);
    }
    ReadRow(plane, width, KvRow(kv_, blocks_, p, kv_head_), out);
    std::fill(out + width, out + stride, 0.0f);
  }
}

}  // namespace barn
