#pragma once

#include <array>
#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/memory.h"

namespace barn {

// Rows of activations as int8 with one f32 scale per 32 or 256 values. Deterministic: a row's codes depend on that row
// alone and are the same on every instruction set. The memory is reused from call to call.
class QuantizedRows {
 public:
  // Room for `rows` rows of `cols` values, a multiple of 32. Drops what was there.
  void Resize(int64_t rows, int64_t cols, ScaleSpan span = ScaleSpan::kBlock);

  // Rounds x, f32[cols], into `row`. Different rows may be written by different threads.
  void Quantize(const KernelTable& kernels, int64_t row, const float* x);

  // Room for `tokens` tokens in tiles; drops what was there.
  void ResizeTiles(int64_t tokens);
  // Tokens `at` .. at + tokens - 1 in tiles become copies of rows index[0 ..], or of first_row onwards when index is
  // null. A product takes the tiles of one such call, or of several whose `at` is a multiple of kTileTokens apart.
  // Different tokens may be written by different threads. Only for kernels that have make_tiles.
  void MakeTiles(const KernelTable& kernels, int64_t at, int64_t tokens, const int32_t* index, int64_t first_row);

  // The rows from first_row onwards; their tiles from `tile` onwards, none if it is negative or none were made.
  QuantizedView view(int64_t first_row = 0, int64_t tile = -1) const;

 private:
  ScaleSpan span_ = ScaleSpan::kBlock;
  int64_t cols_ = 0;
  int64_t padded_blocks_ = 0;
  Scratch codes_memory_, scales_memory_, sums_memory_, sums16_memory_;
  int8_t* codes_ = nullptr;
  float* scales_ = nullptr;
  float* sums_ = nullptr;
  int16_t* sums16_ = nullptr;
  Scratch tile_codes_memory_, tile_scales_memory_, tile_sums_memory_, tile_sums16_memory_;
  int8_t* tile_codes_ = nullptr;
  float* tile_scales_ = nullptr;
  float* tile_sums_ = nullptr;
  int16_t* tile_sums16_ = nullptr;
};

// What the weights of one product want of their input.
class SpanSet {
 public:
  void Add(ScaleSpan span) { wanted_[static_cast<size_t>(span)] = true; }
  bool Has(ScaleSpan span) const { return wanted_[static_cast<size_t>(span)]; }
  bool empty() const { return !wanted_[0] && !wanted_[1]; }

 private:
  std::array<bool, 2> wanted_ = {};
};

// The input of a product, quantized once for each span that its weights want. Functions as in QuantizedRows.
class QuantizedInput {
 public:
  void Resize(SpanSet spans, int64_t rows, int64_t cols);
  void Quantize(const KernelTable& kernels, int64_t row, const float* x);
  void ResizeTiles(int64_t tokens);
  void MakeTiles(const KernelTable& kernels, int64_t at, int64_t tokens, const int32_t* index, int64_t first_row);
  QuantizedView view(ScaleSpan span, int64_t first_row, int64_t tile) const {
    return rows_[static_cast<size_t>(span)].view(first_row, tile);
  }

 private:
  template <class Work>
  void ForEachSpan(Work work) {
    for (const ScaleSpan span : {ScaleSpan::kBlock, ScaleSpan::kChunk}) {
      if (spans_.Has(span)) work(rows_[static_cast<size_t>(span)], span);
    }
  }

  SpanSet spans_;
  std::array<QuantizedRows, 2> rows_;
};

}  // namespace barn
