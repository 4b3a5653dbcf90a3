#include "kernels/cpu/quantize_activations.h"

#include "kernels/check.h"

namespace barn {

void QuantizedRows::Resize(int64_t rows, int64_t cols, ScaleSpan span) {
  BARN_CHECK(cols % 32 == 0);
  span_ = span;
  cols_ = cols;
  padded_blocks_ = (cols / 32 + 7) / 8 * 8;
  const size_t blocks = static_cast<size_t>(rows * padded_blocks_);
  codes_ = codes_memory_.Get<int8_t>(32 * blocks);
  scales_ = scales_memory_.Get<float>(blocks);
  sums_ = sums_memory_.Get<float>(blocks);
  sums16_ = sums16_memory_.Get<int16_t>(2 * blocks);
}

void QuantizedRows::Quantize(const KernelTable& kernels, int64_t row, const float* x) {
  const int64_t block = row * padded_blocks_;
  kernels.quantize_row({.x = x,
                        .cols = static_cast<size_t>(cols_),
                        .padded_blocks = static_cast<size_t>(padded_blocks_),
                        .span = span_,
                        .codes = codes_ + 32 * block,
                        .scales = scales_ + block,
                        .sums = sums_ + block,
                        .sums16 = sums16_ + 2 * block});
}

void QuantizedRows::ResizeTiles(int64_t tokens) {
  const auto blocks = static_cast<size_t>(tokens * padded_blocks_);
  tile_codes_ = tile_codes_memory_.Get<int8_t>(32 * blocks);
  tile_scales_ = tile_scales_memory_.Get<float>(blocks);
  tile_sums_ = tile_sums_memory_.Get<float>(blocks);
  tile_sums16_ = tile_sums16_memory_.Get<int16_t>(2 * blocks);
}

void QuantizedRows::MakeTiles(const KernelTable& kernels, int64_t at, int64_t tokens, const int32_t* index,
                              int64_t first_row) {
  const int64_t block = at * padded_blocks_;
  kernels.make_tiles(view(first_row), index, static_cast<size_t>(tokens), tile_codes_ + 32 * block,
                     tile_scales_ + block, tile_sums_ + block, tile_sums16_ + 2 * block);
}

QuantizedView QuantizedRows::view(int64_t first_row, int64_t tile) const {
  const int64_t block = first_row * padded_blocks_;
  QuantizedView view = {.codes = codes_ + 32 * block,
                        .scales = scales_ + block,
                        .sums = sums_ + block,
                        .sums16 = sums16_ + 2 * block,
                        .padded_blocks = static_cast<size_t>(padded_blocks_)};
  if (tile >= 0 && tile_codes_ != nullptr) {
    const int64_t tile_block = tile * padded_blocks_;
    view.tiles = {.codes = tile_codes_ + 32 * tile_block,
                  .scales = tile_scales_ + tile_block,
                  .sums = tile_sums_ + tile_block,
                  .sums16 = tile_sums16_ + 2 * tile_block};
  }
  return view;
}

void QuantizedInput::Resize(SpanSet spans, int64_t rows, int64_t cols) {
  spans_ = spans;
  ForEachSpan([&](QuantizedRows& quantized, ScaleSpan span) { quantized.Resize(rows, cols, span); });
}

void QuantizedInput::Quantize(const KernelTable& kernels, int64_t row, const float* x) {
  ForEachSpan([&](QuantizedRows& quantized, ScaleSpan) { quantized.Quantize(kernels, row, x); });
}

void QuantizedInput::ResizeTiles(int64_t tokens) {
  ForEachSpan([&](QuantizedRows& quantized, ScaleSpan) { quantized.ResizeTiles(tokens); });
}

void QuantizedInput::MakeTiles(const KernelTable& kernels, int64_t at, int64_t tokens, const int32_t* index,
                               int64_t first_row) {
  ForEachSpan([&](QuantizedRows& quantized, ScaleSpan) { quantized.MakeTiles(kernels, at, tokens, index, first_row); });
}

}  // namespace barn
