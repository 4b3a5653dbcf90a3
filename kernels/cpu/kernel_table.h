#pragma once

#include <stddef.h>
#include <stdint.h>

// What one instruction set offers to the rest of the CPU device, as plain functions. Per-ISA files include this and
// intrinsics only: an inline function of a library that is compiled there with wider instructions could be the copy
// that the linker keeps for everybody.

namespace barn {

// The tokens of a product side by side, so that one pointer walks through all. They are cut into tiles of kTileTokens
// as long as that many are left, then of half as many, and so on; the tile that begins with token i lies where row i
// lies in row format. A tile of n tokens is [blocks, 8, n, 4] codes, [blocks, n] scales and sums, and [blocks, n, 2]
// sums16.
constexpr size_t kTileTokens = 4;
struct QuantizedTiles {
  const int8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* sums = nullptr;
  const int16_t* sums16 = nullptr;
};

// How many activations share a scale: 32, or 256 for weights of two and three bits.
enum class ScaleSpan { kBlock, kChunk };

// Rows of activations rounded to int8, 32 values to a block. Blocks are padded with zeros to a multiple of 8, so
// padded_blocks is what a row occupies in every array. With ScaleSpan::kChunk the 8 blocks of a chunk have equal
// scales.
struct QuantizedView {
  const int8_t* codes = nullptr;    // [T, 32 padded_blocks], in [-127, 127]
  const float* scales = nullptr;    // [T, padded_blocks]: value = scale * code
  const float* sums = nullptr;      // [T, padded_blocks]: scale * sum of the block's codes
  const int16_t* sums16 = nullptr;  // [T, 2 padded_blocks]: sums of 16 codes
  size_t padded_blocks = 0;
  QuantizedTiles tiles = {};  // Of the tokens of the product at hand, after `index`; needed by panels for 2 tokens on.
};

// out[i * out_stride + r] = sum_k weight[r, k] * x[index[i], k] + bias[r], for `rows` rows of weights and `tokens` i.
struct Int8Args {
  const uint8_t* weights = nullptr;
  size_t row_bytes = 0;
  size_t rows = 0;
  size_t blocks = 0;  // Of 32 columns.
  QuantizedView x;
  const int32_t* index = nullptr;  // Null: token i is row i of x.
  size_t tokens = 0;
  float* out = nullptr;
  size_t out_stride = 0;
  const float* bias = nullptr;  // Or null.
  uint8_t* scratch = nullptr;   // Int8ScratchBytes(blocks) bytes, 64-byte aligned.
};

// The same for panels, one behind the other, of KernelTable::panel_rows rows each. rows: a multiple of that.
struct PackedArgs {
  const uint8_t* panels = nullptr;
  size_t rows = 0;
  size_t blocks = 0;
  QuantizedView x;
  const int32_t* index = nullptr;
  size_t tokens = 0;
  float* out = nullptr;
  size_t out_stride = 0;
  const float* bias = nullptr;
  uint8_t* scratch = nullptr;  // FoldScratchBytes(blocks) bytes, 64-byte aligned.
};

// A format as rows repacked into panels (packed_layout.h).
struct PackedFormat {
  size_t (*panel_bytes)(size_t blocks) = nullptr;
  void (*pack)(const uint8_t* weights, size_t row_bytes, size_t blocks, uint8_t* panel) = nullptr;
  void (*product)(const PackedArgs&) = nullptr;
};

// One weight row of plain numbers against tokens: out[i * out_stride] = sum_k weight[k] * x[index[i] * x_stride + k] +
// bias.
struct FloatRowArgs {
  const uint8_t* weight = nullptr;  // f32, f16 or bf16 values at any alignment.
  size_t cols = 0;
  const float* x = nullptr;
  size_t x_stride = 0;
  const int32_t* index = nullptr;
  size_t tokens = 0;
  float* out = nullptr;
  size_t out_stride = 0;
  float bias = 0;
};

// Where one quantized row goes; all arrays have room for the padded blocks.
struct QuantizeRowArgs {
  const float* x = nullptr;
  size_t cols = 0;
  size_t padded_blocks = 0;
  ScaleSpan span = ScaleSpan::kBlock;
  int8_t* codes = nullptr;
  float* scales = nullptr;
  float* sums = nullptr;
  int16_t* sums16 = nullptr;
};

constexpr size_t kTypeIds = 48;  // GGUF type ids are below.

struct KernelTable {
  // By GGUF type id; null where a format has no int8 product and is decoded to f32 instead.
  void (*int8_product[kTypeIds])(const Int8Args&) = {};
  ScaleSpan scale_span[kTypeIds] = {};  // Of the activations that it wants.
  PackedFormat packed[kTypeIds] = {};   // Empty where rows stay as they are; all of it when panel_rows is 0.
  size_t panel_rows = 0;
  // Null where panel_rows is 0: nothing reads tiles then.
  void (*make_tiles)(const QuantizedView& x, const int32_t* index, size_t tokens, int8_t* codes, float* scales,
                     float* sums, int16_t* sums16) = nullptr;
  void (*f32_row)(const FloatRowArgs&) = nullptr;
  void (*f16_row)(const FloatRowArgs&) = nullptr;
  void (*bf16_row)(const FloatRowArgs&) = nullptr;
  void (*quantize_row)(const QuantizeRowArgs&) = nullptr;
};

// Of the largest panel: 16 rows of 32 bytes of codes and 4 of scales for each block.
constexpr size_t PanelBytesMax(size_t blocks) { return (blocks + 7) / 8 * 8 * 16 * (32 + 4); }
// Two panels whose scales are folded into the codes.
constexpr size_t FoldScratchBytes(size_t blocks) { return 2 * PanelBytesMax(blocks); }
constexpr size_t Int8ScratchBytes(size_t blocks) { return PanelBytesMax(blocks) + FoldScratchBytes(blocks); }

// Every set gives the same bits: the order of float operations is part of the driver, not of the instruction set.
const KernelTable& ScalarKernels();
const KernelTable& Avx2Kernels();
const KernelTable& Avx512Kernels();
const KernelTable& Avx512VbmiKernels();

}  // namespace barn
