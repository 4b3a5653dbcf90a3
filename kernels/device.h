#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/formats/dtype.h"
#include "kernels/formats/kv_type.h"

namespace barn {

// Shape letters: T tokens (rows of a step), D model width, H heads, K head width, E experts.

// A view of f32 activations on the device: rows x cols, row r at data + r * stride. Does not own.
struct Tensor {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // In floats; cols when dense.

  float* row(int64_t r) const { return data + r * stride; }
};

// f32 memory on the device, zeroed. 64-byte aligned.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual float* data() = 0;
  virtual int64_t floats() const = 0;
};

// count x rows x cols; count is the number of experts or heads of a batched weight, else 1. cols is contracted.
struct MatrixShape {
  int64_t count = 1;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stored_rows = 0;  // In memory, from the first row of a matrix to that of the next; 0: rows.
};

// A weight on the device, possibly repacked for speed.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual DType dtype() const = 0;
  virtual MatrixShape shape() const = 0;
};

// What a weight is for.
enum class MatrixUse {
  kProducts,  // Every product reads all of it.
  kExperts,   // A product reads some of its matrices: those that no token uses shall cost no memory.
  kBorrowed,  // As kExperts, of a model larger than memory: no copies, so that the system can drop what lies unused.
  kRows,      // EmbedRows only.
};

// Told which bytes of a weight the device has copied and will hardly read again.
using BytesCopied = std::function<void(std::span<const std::byte>)>;

// One product of several that share an input, so that it is quantized once. out: [T, weight.rows], bias: f32[rows] or
// null.
struct Projection {
  const Matrix* weight = nullptr;
  const float* bias = nullptr;
  Tensor out;
};

// The experts of T tokens, k each: experts[t * k + j] in [0, E), weights likewise. A negative expert means "none here".
struct Routes {
  int64_t k = 0;
  std::span<const int32_t> experts;
  std::span<const float> weights;
};

// kGeluErf: x / 2 (1 + erf(x / sqrt 2)), kGeluTanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which is near
// it. kClampedSwiglu is gpt-oss's.
enum class Activation { kSilu, kGeluTanh, kGeluErf, kClampedSwiglu };

// The routed part of a feed-forward layer. gate and up: [E, FF, D]; down: [E, D, FF]; biases: f32[E, rows] or null.
// With gate_up set, gate rows come first in one [E, 2 FF, D] matrix, and gate and up are null.
struct ExpertMatrices {
  const Matrix* gate = nullptr;
  const Matrix* up = nullptr;
  const Matrix* gate_up = nullptr;
  const Matrix* down = nullptr;
  const float* gate_bias = nullptr;
  const float* up_bias = nullptr;
  const float* down_bias = nullptr;
  Activation activation = Activation::kSilu;
  bool weight_scales_input = false;  // llama4: the route's weight multiplies the expert's input, not its output.
  // Where several ranks share the experts, gate and up hold rows [first_hidden, first_hidden + rows) of FF and down
  // some rows of D. complete_hidden then gets act(gate x) * up x, [pairs, FF] with this rank's columns filled in, and
  // returns when the others' are there too; pairs of a token and an expert stand in the same order on every rank. Null:
  // all of FF is here. Not with gate_up.
  int64_t first_hidden = 0;
  std::function<void(Tensor)> complete_hidden = nullptr;
};

// Keys and values of one layer in blocks of block_tokens positions, a head's rows of a block together.
// k: [blocks, kv_heads, block_tokens, k_width], v: [blocks, kv_heads, block_tokens, v_width].
// With v_is_k_prefix (MLA) v is null and the value is the first v_width elements of the key.
// With kQ8_0 and kQ4_0 they are codes, KvCodeBytes of each row, and beside them lie the f16 scales of 32 elements each:
// k_scales: [blocks, kv_heads, block_tokens, KvScales(k_width)], v_scales likewise; null with other types.
struct KvLayer {
  KvType type = KvType::kF16;
  void* k = nullptr;
  void* v = nullptr;
  uint16_t* k_scales = nullptr;
  uint16_t* v_scales = nullptr;
  int64_t block_tokens = 0;
  int64_t kv_heads = 0;
  int64_t k_width = 0;
  int64_t v_width = 0;
  bool v_is_k_prefix = false;
};

// Block `to` becomes what block `from` is.
struct KvBlockCopy {
  int32_t from = 0;
  int32_t to = 0;
};

// Rows [first_row, first_row + rows) of a step belong to one sequence, at positions first_position onwards.
// blocks[i] is the KV block that holds positions [i * block_tokens, (i + 1) * block_tokens).
struct SequenceRows {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t first_position = 0;
  std::span<const int32_t> blocks;
};

struct AttentionArgs {
  Tensor q;    // [T, H * k_width]
  Tensor out;  // [T, H * v_width]
  const KvLayer* kv = nullptr;
  std::span<const SequenceRows> sequences;
  int64_t heads = 0;
  float scale = 1;
  float softcap = 0;   // > 0: score = softcap * tanh(score / softcap).
  int64_t window = 0;  // > 0: position p sees p - window + 1 .. p, or both ways p - window / 2 .. p + window / 2.
  int64_t chunk = 0;   // > 0 (llama4): position p sees only positions of its own chunk, p / chunk.
  const float* sinks = nullptr;  // f32[H]: one extra logit per head in the denominator (gpt-oss), or null.
  // Encoders: a position sees what comes behind it, too, up to the last row that its sequence has in this step.
  bool both_ways = false;
  const float* slopes = nullptr;  // f32[H] (ALiBi, Press et al. 2022): score -= slope * |p - q|, or null.
};

enum class RopePairs { kNeighbours, kHalves };  // (2i, 2i + 1), or (i, i + width / 2) as GPT-NeoX.

struct RopeArgs {
  Tensor x;  // [T, heads * head_width], rotated in place.
  int64_t heads = 0;
  int64_t head_width = 0;
  int64_t offset = 0;  // First rotated element of a head (MLA: behind the part without position).
  int64_t width = 0;   // Rotated elements of a head, even.
  RopePairs pairs = RopePairs::kHalves;
  std::span<const int32_t> positions;          // [T]
  std::span<const float> inverse_frequencies;  // [width / 2], all scaling folded in.
  float magnitude = 1;                         // Multiplies cos and sin (YaRN, longrope).
};

struct RankedLogit {
  int32_t id = 0;
  float logit = 0;
};

// A row of logits and what is wanted of it. NaN counts as -infinity.
struct LogitRanking {
  std::span<const float> logits;  // [V], not empty.
  int64_t count = 0;              // How many of the best; clamped to [0, V].

  float largest = 0;                   // Results.
  double logsumexp = 0;                // log(sum(exp(logits))) to 1e-6; -infinity when no entry counts.
  std::vector<RankedLogit> best = {};  // Best first, ties by lower id.
};

// What a device did, for tests and metrics. Counted since construction.
struct DeviceCounters {
  int64_t expert_bytes_read = 0;  // Weight bytes of routed experts that were touched, each expert once per call.
  int64_t experts_read = 0;       // Expert matrices (gate, up or down of one expert) that were touched.
  int64_t matmul_bytes_read = 0;  // Bytes of all other weights.
};

// The order of a device's work, as the libraries of its maker know it: exchanges between devices are put there, too.
struct DeviceStream {
  void* handle = nullptr;       // cudaStream_t; null: the device has none, its memory is the host's.
  std::string device = "";      // Which hardware; the same text twice on a machine: the same device.
  std::string library = "";     // Has the exchanges, by the name that dlopen takes; empty: none does by itself.
  double read_bytes_per_s = 0;  // Of its memory, by its datasheet; 0: unknown.
};

// The seam for compute. One thread calls at a time; calls are ordered. Shapes are the caller's duty (BARN_CHECK).
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string Describe() const = 0;  // "cpu avx2, 2 threads"
  // Whether a row's results have the same bits alone and among others, as every device's should; one that trades this
  // for speed says so and is refused where it was asked for.
  virtual bool batch_invariant() const = 0;

  // `bytes` holds shape.count * shape.rows rows of RowBytes(dtype, shape.cols), with stored_rows from the first row of
  // the first matrix to the last row of the last, and stays readable for the life of the matrix: the CPU repacks what
  // gains from it, at once or (experts) on first use, and borrows the rest; a GPU copies. `copied` may be called during
  // Upload and any later call. InvalidArgument: sizes disagree. ResourceExhausted: device memory.
  virtual absl::StatusOr<std::unique_ptr<Matrix>> Upload(DType dtype, MatrixShape shape,
                                                         std::span<const std::byte> bytes, MatrixUse use,
                                                         BytesCopied copied) = 0;
  absl::StatusOr<std::unique_ptr<Matrix>> Upload(DType dtype, MatrixShape shape, std::span<const std::byte> bytes) {
    return Upload(dtype, shape, bytes, shape.count == 1 ? MatrixUse::kProducts : MatrixUse::kExperts, nullptr);
  }
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t floats) = 0;
  // Zeroed memory for keys or values. Untouched pages cost nothing on the CPU.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> AllocateKv(int64_t bytes) = 0;

  virtual void EmbedRows(const Matrix& table, std::span<const int32_t> ids, Tensor out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight. weight: f32[cols] or null (1). x and out may alias. For per-head norms
  // view the tensor as [T * H, K].
  virtual void RmsNorm(Tensor x, const float* weight, float eps, Tensor out) = 0;
  // out = (x - mean) / sqrt(var + eps) * weight + bias; weight and bias may be null.
  virtual void LayerNorm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) = 0;
  // out[t, r] = sum_k weight[r, k] * x[t, k] + bias[r], for each projection. weight.count == 1.
  virtual void MatMul(std::span<const Projection> projections, Tensor x) = 0;
  // Same with F32 arithmetic and a fixed summation order whatever the instruction set allows; for routers. weight is
  // F32/F16/BF16.
  virtual void MatMulExact(const Projection& projection, Tensor x) = 0;
  // Head h of x times matrix h: x [T, H * cols] -> out [T, H * rows]; weight.count == H.
  virtual void BatchedMatMul(const Matrix& weight, Tensor x, Tensor out) = 0;
  // out[t] = sum_j weight_j * down_j(act(gate_j x) * up_j x); overwrites out. Reads only routed experts.
  virtual void RoutedFfn(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out) = 0;
  // gate = act(gate) * up
  virtual void GatedActivation(Activation activation, Tensor gate, Tensor up) = 0;
  virtual void Gelu(Activation form, Tensor x) = 0;  // kGeluTanh or kGeluErf, in place
  virtual void Rope(const RopeArgs& args) = 0;
  // Writes rows of k [T, kv_heads * k_width] and v (ignored with v_is_k_prefix) to their blocks.
  virtual void WriteKv(const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v) = 0;
  // For sequences that part ways in the middle of a block. In any order: no block is both read and written.
  virtual void CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) = 0;
  virtual void Attention(const AttentionArgs& args) = 0;
  virtual void Add(Tensor x, Tensor y) = 0;                             // x += y
  virtual void AddScaled(Tensor x, Tensor y, float scale) = 0;          // x += scale * y
  virtual void Scale(Tensor x, float scale) = 0;                        // x *= scale
  virtual void ScaleRows(Tensor x, std::span<const float> scales) = 0;  // x[t] *= scales[t]
  virtual void Softcap(Tensor x, float cap) = 0;                        // x = cap * tanh(x / cap)
  // The logits lie with the host or on the device.
  virtual void RankLogits(std::span<LogitRanking> rows) = 0;
  // out = x, same rows and cols, any strides, no overlap. This default serves devices whose memory the host addresses.
  virtual void Copy(Tensor x, Tensor out) {
    for (int64_t r = 0; r < x.rows; ++r) {
      std::copy_n(x.row(r), x.cols, out.row(r));
    }
  }

  // Tensors lie where the host cannot look on most devices, so that what reads or writes their numbers asks first.
  // x where the host reads and may change it: x itself where host_addressable, else a copy. The copy holds until the
  // next ToHost or RankLogits, which use the same memory; no other call touches it.
  virtual Tensor ToHost(Tensor x) { return x; }
  // out = values: f32[out.rows, out.cols] of the host.
  virtual void CopyFromHost(std::span<const float> values, Tensor out) {
    for (int64_t r = 0; r < out.rows; ++r) {
      std::copy_n(values.begin() + r * out.cols, out.cols, out.row(r));
    }
  }
  virtual bool host_addressable() const { return true; }
  // What went wrong first on the device; results since then mean nothing.
  virtual absl::Status status() const { return absl::OkStatus(); }

  // Called between steps: brings what the next step reads first nearer to the processor, until that is done or `stop`
  // says that the step is there. Changes no result.
  virtual void ReadAhead(const std::function<bool()>& /*stop*/) {}

  // Where others put work for this device: behind all of its own so far, so whoever does asks again each time. Makes it
  // the calling thread's device for its driver.
  virtual DeviceStream stream() { return {}; }
  // A mark in the order of the work so far; Reached says without waiting whether that is done. Of the last kMarks.
  static constexpr int64_t kMarks = 8;
  virtual int64_t Mark() { return 0; }
  virtual bool Reached(int64_t /*mark*/) { return true; }

  virtual DeviceCounters counters() const = 0;
};

// How activations meet quantized weights. kInt8: rounded to 8 bits per 32 values; kF32: weights are decoded, F32
// throughout.
enum class ActivationMode { kInt8, kF32 };

// Which weights the CPU repacks into panels for its instruction set.
enum class Repack { kNone, kDense, kAll };

struct CpuOptions {
  int threads = 0;  // 0: one per core that this process may use.
  ActivationMode activations = ActivationMode::kInt8;
  bool pin = true;  // Bind threads to cores with hwloc.
  Repack repack = Repack::kAll;
};

// Settings from BARN_CPU_ISA (scalar, avx2, avx512), BARN_ACTIVATIONS (int8, f32) and BARN_REPACK (none, dense, all)
// override the choice made from the machine. InvalidArgument: an unknown word, or an instruction set that this machine
// lacks.
absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(CpuOptions options);

}  // namespace barn
