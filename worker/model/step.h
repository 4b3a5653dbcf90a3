#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "worker/model/rank_group.h"
#include "worker/model/slice.h"

namespace barn {

// Temporary tensors of a step, taken in order and given back together when a frame ends. Allocated once, at load.
class Scratch {
 public:
  explicit Scratch(std::unique_ptr<Buffer> buffer) : buffer_(std::move(buffer)) {}

  // Floats that one row of `cols` takes: whole cache lines.
  static int64_t RowFloats(int64_t cols) { return (cols + 15) / 16 * 16; }

  Tensor Take(int64_t rows, int64_t cols) {
    const int64_t floats = rows * RowFloats(cols);
    BARN_CHECK(used_ + floats <= buffer_->floats());
    Tensor tensor{.data = buffer_->data() + used_, .rows = rows, .cols = cols, .stride = cols};
    used_ += floats;
    return tensor;
  }

  // Gives back on destruction what was taken since construction.
  class Frame {
   public:
    explicit Frame(Scratch& scratch) : scratch_(scratch), used_(scratch.used_) {}
    ~Frame() { scratch_.used_ = used_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Scratch& scratch_;
    int64_t used_;
  };

  int64_t bytes() const { return buffer_->floats() * static_cast<int64_t>(sizeof(float)); }

 private:
  std::unique_ptr<Buffer> buffer_;
  int64_t used_ = 0;
};

struct StepAdapters;

// What the blocks share during one step.
struct Step {
  Device& device;
  Scratch& scratch;
  std::span<const SequenceRows> sequences;
  std::span<const int32_t> positions;  // [T]
  std::span<float> row_scales;         // [T], for any block to use within itself.
  const RouteObserver& observe_routes;
  RankGroup& ranks;
  Scratch* host_scratch = nullptr;         // Of the device of experts that lie with the host; null: there are none.
  const StepAdapters* adapters = nullptr;  // Of the rows at hand; null where none has any.

  // Every product with a weight goes through these: the device's MatMul and MatMulExact, and what adapters add.
  void Multiply(std::span<const Projection> projections, Tensor x) const;
  void MultiplyExact(const Projection& projection, Tensor x) const;
};

// x [T, heads * width] as [T * heads, width]; x is dense.
inline Tensor PerHead(Tensor x, int64_t width) {
  return {.data = x.data, .rows = x.rows * (x.cols / width), .cols = width, .stride = width};
}

// Rows [first, first + rows) of x.
inline Tensor RowRange(Tensor x, int64_t first, int64_t rows) {
  return {.data = x.row(first), .rows = rows, .cols = x.cols, .stride = x.stride};
}

// Columns [first, first + cols) of x.
inline Tensor Columns(Tensor x, int64_t first, int64_t cols) {
  return {.data = x.data + first, .rows = x.rows, .cols = cols, .stride = x.stride};
}
inline Tensor Columns(Tensor x, Span columns) { return Columns(x, columns.first, columns.count); }

// The part of a vector of biases (or null) that belongs to some rows.
inline const float* Part(const float* biases, Span rows) { return biases == nullptr ? nullptr : biases + rows.first; }

}  // namespace barn
