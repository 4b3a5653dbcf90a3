#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/cpu_device.h"

// The dense products of CpuDevice: who multiplies which rows.

namespace barn {
namespace {

constexpr int64_t kTileRows = 16;     // Weight rows of one piece of work: the widest panel.
constexpr int64_t kTokenBlock = 128;  // Their int8 rows stay in the second-level cache while weights stream past.

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One product cut into pieces: token blocks outside, row tiles inside.
struct Pieces {
  int64_t tiles;
  int64_t token_blocks;
  int64_t count() const { return tiles * token_blocks; }
};

Pieces PiecesOf(const Projection& projection, int64_t tokens) {
  return {.tiles = CeilDiv(projection.weight->shape().rows, kTileRows), .token_blocks = CeilDiv(tokens, kTokenBlock)};
}

}  // namespace

void CpuDevice::MatMul(std::span<const Projection> projections, Tensor x) {
  SpanSet spans;
  int64_t items = 0;
  for (const Projection& projection : projections) {
    const auto& weight = static_cast<const CpuMatrix&>(*projection.weight);
    BARN_CHECK(weight.shape().count == 1 && weight.shape().cols == x.cols);
    BARN_CHECK(projection.out.rows == x.rows && projection.out.cols == weight.shape().rows);
    weight.AddSpan(spans);
    pool_.read_ahead().Note(weight.weight_bytes());
    items += PiecesOf(projection, x.rows).count();
    counters_.matmul_bytes_read += weight.expert_bytes();
  }
  if (!spans.empty()) {
    quantized_.Resize(spans, x.rows, x.cols);
    ForRows(x, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) quantized_.Quantize(kernels_, row, x.row(row));
    });
    MakeTiles(x.rows);
  }
  few_rows_ = x.rows <= barn::ReadAhead::kRowsMax;
  pool_.read_ahead().PlanNext(few_rows_ ? barn::ReadAhead::kGapBytes : 0);
  pool_.ParallelFor(items, [&](int64_t begin, int64_t end, int thread) {
    int64_t first_item = 0;  // Of the projection at hand.
    for (const Projection& projection : projections) {
      const Pieces pieces = PiecesOf(projection, x.rows);
      const int64_t last_item = first_item + pieces.count();
      for (int64_t item = std::max(begin, first_item); item < std::min(end, last_item);) {
        const int64_t tile = (item - first_item) % pieces.tiles;
        const int64_t token = (item - first_item) / pieces.tiles * kTokenBlock;
        const int64_t tile_count = std::min(pieces.tiles - tile, std::min(end, last_item) - item);
        MultiplyTiles(projection, x, token, tile * kTileRows, tile_count * kTileRows, thread);
        item += tile_count;
      }
      first_item = last_item;
    }
  });
}

// Of the quantized rows, for products of kTokenBlock of them at a time.
void CpuDevice::MakeTiles(int64_t rows) {
  if (rows == 1 || kernels_.make_tiles == nullptr) return;
  constexpr int64_t kTokens = 16;  // Of one piece of work.
  static_assert(kTokens % kTileTokens == 0 && kTokenBlock % kTileTokens == 0);
  quantized_.ResizeTiles(rows);
  pool_.ParallelFor(CeilDiv(rows, kTokens), [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kTokens;
    quantized_.MakeTiles(kernels_, first, std::min(rows, end * kTokens) - first, nullptr, first);
  });
}

// Up to kTokenBlock tokens and `rows` weight rows of one projection, as far as there are any.
void CpuDevice::MultiplyTiles(const Projection& projection, Tensor x, int64_t token, int64_t row, int64_t rows,
                              int thread) {
  const auto& weight = static_cast<const CpuMatrix&>(*projection.weight);
  const CpuMatrix::Input input = {
      .x = {.data = x.row(token), .rows = x.rows - token, .cols = x.cols, .stride = x.stride},
      .quantized =
          weight.uses_int8() ? quantized_.view(weight.scale_span(), token, x.rows == 1 ? -1 : token) : QuantizedView{},
      .tokens = std::min(kTokenBlock, x.rows - token)};
  weight.Multiply(kernels_, 0, row, std::min(row + rows, weight.shape().rows), input, projection.out.row(token) + row,
                  projection.out.stride, projection.bias == nullptr ? nullptr : projection.bias + row,
                  scratch_[thread]);
}

// The f32 products have one order of summation on every instruction set, so they are exact in the sense meant here.
void CpuDevice::MatMulExact(const Projection& projection, Tensor x) {
  const DType dtype = projection.weight->dtype();
  BARN_CHECK(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16);
  MatMul({&projection, 1}, x);
}

void CpuDevice::BatchedMatMul(const Matrix& matrix, Tensor x, Tensor out) {
  const auto& weight = static_cast<const CpuMatrix&>(matrix);
  const auto [heads, rows, cols, stored_rows] = weight.shape();
  BARN_CHECK(x.cols == heads * cols && out.cols == heads * rows && x.rows == out.rows);
  if (weight.uses_int8()) {  // Rows of one head lie together: head * T + token.
    SpanSet spans;
    weight.AddSpan(spans);
    quantized_.Resize(spans, heads * x.rows, cols);
    ForRows(x, [&, heads = heads, cols = cols](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t h = 0; h < heads; ++h) quantized_.Quantize(kernels_, h * x.rows + t, x.row(t) + h * cols);
      }
    });
    if (x.rows > 1 && kernels_.make_tiles != nullptr) {
      quantized_.ResizeTiles(heads * x.rows);
      pool_.ParallelFor(heads, [&](int64_t begin, int64_t end, int) {
        for (int64_t h = begin; h < end; ++h) {
          quantized_.MakeTiles(kernels_, h * x.rows, x.rows, nullptr, h * x.rows);
        }
      });
    }
  }
  const int64_t tiles = CeilDiv(rows, kTileRows);
  pool_.ParallelFor(heads * tiles, [&, rows = rows, cols = cols](int64_t begin, int64_t end, int thread) {
    for (int64_t item = begin; item < end;) {
      const int64_t head = item / tiles;
      const int64_t row = item % tiles * kTileRows;
      const int64_t tile_count = std::min(tiles - item % tiles, end - item);
      const CpuMatrix::Input input = {
          .x = {.data = x.data + head * cols, .rows = x.rows, .cols = cols, .stride = x.stride},
          .quantized = weight.uses_int8()
                           ? quantized_.view(weight.scale_span(), head * x.rows, x.rows == 1 ? -1 : head * x.rows)
                           : QuantizedView{},
          .tokens = x.rows};
      weight.Multiply(kernels_, head, row, std::min(rows, row + tile_count * kTileRows), input,
                      out.data + head * rows + row, out.stride, nullptr, scratch_[thread]);
      item += tile_count;
    }
  });
  counters_.matmul_bytes_read += heads * weight.expert_bytes();
}

}  // namespace barn
