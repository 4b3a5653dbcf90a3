#include "kernels/cpu/cpu_device.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/rope.h"
#include "kernels/formats/decode.h"

namespace barn {
namespace {

const KernelTable& KernelsOf(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return ScalarKernels();
    case Isa::kAvx2:
      return Avx2Kernels();
    case Isa::kAvx512:
      return Avx512Kernels();
    case Isa::kAvx512Vbmi:
      return Avx512VbmiKernels();
  }
  return ScalarKernels();
}

absl::StatusOr<ActivationMode> ChooseActivations(ActivationMode otherwise) {
  const char* forced = std::getenv("BARN_ACTIVATIONS");
  if (forced == nullptr || *forced == '\0') return otherwise;
  if (std::string_view(forced) == "int8") return ActivationMode::kInt8;
  if (std::string_view(forced) == "f32") return ActivationMode::kF32;
  return absl::InvalidArgumentError(
      absl::StrCat("BARN_ACTIVATIONS=", forced, " is unknown; the choices are int8 and f32"));
}

absl::StatusOr<Repack> ChooseRepack(Repack otherwise) {
  const char* forced = std::getenv("BARN_REPACK");
  if (forced == nullptr || *forced == '\0') return otherwise;
  if (std::string_view(forced) == "none") return Repack::kNone;
  if (std::string_view(forced) == "dense") return Repack::kDense;
  if (std::string_view(forced) == "all") return Repack::kAll;
  return absl::InvalidArgumentError(
      absl::StrCat("BARN_REPACK=", forced, " is unknown; the choices are none, dense and all"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(CpuOptions options) {
  constexpr int kThreadsMax = 4096;
  if (options.threads < 0 || options.threads > kThreadsMax) {
    return absl::InvalidArgumentError(absl::StrCat("threads = ", options.threads, " is not in 0 .. ", kThreadsMax));
  }
  absl::StatusOr<Isa> isa = ChooseIsa();
  if (!isa.ok()) return isa.status();
  absl::StatusOr<ActivationMode> mode = ChooseActivations(options.activations);
  if (!mode.ok()) return mode.status();
  absl::StatusOr<Repack> repack = ChooseRepack(options.repack);
  if (!repack.ok()) return repack.status();
  options.repack = *repack;
  return std::make_unique<CpuDevice>(options, *mode, *isa);
}

CpuDevice::CpuDevice(const CpuOptions& options, ActivationMode mode, Isa isa)
    : mode_(mode),
      repack_(options.repack),
      isa_(isa),
      kernels_(KernelsOf(isa)),
      pool_(options.threads, options.pin),
      scratch_(pool_.threads()),
      routed_ffn_(isa, kernels_, pool_, scratch_),
      logit_ranker_(isa, pool_) {}

std::string CpuDevice::Describe() const {
  const int threads = pool_.threads();
  return absl::StrCat("cpu ", IsaName(isa_), ", ", threads, threads == 1 ? " thread" : " threads",
                      mode_ == ActivationMode::kF32 ? ", f32 activations" : "");
}

absl::StatusOr<std::unique_ptr<Matrix>> CpuDevice::Upload(DType dtype, MatrixShape shape,
                                                          std::span<const std::byte> bytes, MatrixUse use,
                                                          BytesCopied copied) {
  absl::StatusOr<std::unique_ptr<CpuMatrix>> matrix = CpuMatrix::Create(dtype, shape, bytes, kernels_, mode_);
  if (!matrix.ok()) return matrix.status();
  absl::Status status;
  if (use == MatrixUse::kProducts && repack_ != Repack::kNone) {
    status = (*matrix)->ReservePanels(PageSize::kHuge, std::move(copied));
    for (int64_t i = 0; status.ok() && i < shape.count; ++i) {
      pool_.ParallelFor((*matrix)->PanelsToPack(i),
                        [&](int64_t begin, int64_t end, int) { (*matrix)->PackPanels(i, begin, end); });
      if ((*matrix)->PanelsToPack(i) > 0) (*matrix)->FinishPacking(i);
    }
  } else if (use == MatrixUse::kExperts && repack_ == Repack::kAll) {
    status = (*matrix)->ReservePanels(PageSize::kSmall, std::move(copied));  // RoutedFfn packs those that are used.
  }
  if (!status.ok()) return status;
  ReserveScratch((*matrix)->scratch_bytes());
  return *std::move(matrix);
}

absl::StatusOr<std::unique_ptr<Buffer>> CpuDevice::Allocate(int64_t floats) { return AllocateFloats(floats); }

absl::StatusOr<std::unique_ptr<Buffer>> CpuDevice::AllocateKv(int64_t bytes) { return AllocatePages(bytes); }

void CpuDevice::EmbedRows(const Matrix& table, std::span<const int32_t> ids, Tensor out) {
  const auto& matrix = static_cast<const CpuMatrix&>(table);
  BARN_CHECK(static_cast<int64_t>(ids.size()) == out.rows && matrix.shape().cols == out.cols);
  for (int32_t id : ids) BARN_CHECK(id >= 0 && id < matrix.shape().rows);
  ForRows(out, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      DecodeRow(matrix.dtype(), matrix.row(0, ids[t]), out.row(t), out.cols);
    }
  });
  counters_.matmul_bytes_read += out.rows * matrix.row_bytes();
}

void CpuDevice::RmsNorm(Tensor x, const float* weight, float eps, Tensor out) {
  ForRows(x, [&](int64_t begin, int64_t end) { RmsNormRows(isa_, x, weight, eps, out, begin, end); });
}

void CpuDevice::LayerNorm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) {
  ForRows(x, [&](int64_t begin, int64_t end) { LayerNormRows(isa_, x, weight, bias, eps, out, begin, end); });
}

void CpuDevice::RoutedFfn(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out) {
  routed_ffn_.Run(experts, routes, x, out, counters_);
}

void CpuDevice::GatedActivation(Activation activation, Tensor gate, Tensor up) {
  ForRows(gate, [&](int64_t begin, int64_t end) { GatedActivationRows(isa_, activation, gate, up, begin, end); });
}

void CpuDevice::Gelu(Activation form, Tensor x) {
  ForRows(x, [&](int64_t begin, int64_t end) { GeluRows(isa_, form, x, begin, end); });
}

void CpuDevice::Rope(const RopeArgs& args) {
  ForRows(args.x, [&](int64_t begin, int64_t end) { RopeRows(isa_, args, begin, end); });
}

void CpuDevice::CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) {
  ::barn::CopyKvBlocks(kv, copies);
}

void CpuDevice::WriteKv(const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v) {
  ForRows(k, [&](int64_t begin, int64_t end) { WriteKvRows(isa_, kv, sequences, k, v, begin, end); });
}

void CpuDevice::Attention(const AttentionArgs& args) {
  PlanAttention(args, attention_plan_);
  const AttentionPlan& plan = attention_plan_;
  ReserveScratch(static_cast<size_t>(plan.scratch_floats) * sizeof(float));
  float* partials = partials_.Get<float>(static_cast<size_t>(plan.partial_floats));
  pool_.ParallelFor(plan.items, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = scratch_[thread].Get<float>(static_cast<size_t>(plan.scratch_floats));
    AttendRange(isa_, args, plan, begin, end, scratch, partials);
  });
  if (plan.merges == 0) return;
  pool_.ParallelFor(plan.merges,
                    [&](int64_t begin, int64_t end, int) { MergeRange(isa_, args, plan, begin, end, partials); });
}

// The calling thread alone: the others sleep, and the next step's message needs a processor too.
void CpuDevice::ReadAhead(const std::function<bool()>& stop) {
  constexpr int64_t kBytesMax = int64_t{8} << 20;
  constexpr int64_t kShareOfCache = 4;  // Others use the last level too.
  if (!few_rows_) return;
  barn::ReadAhead& ahead = pool_.read_ahead();
  ahead.PlanNext(std::min(kBytesMax, pool_.cache_bytes() / kShareOfCache));
  while (!stop() && ahead.FetchSome()) {
  }
  ahead.Forget();
}

void CpuDevice::Add(Tensor x, Tensor y) {
  ForRows(x, [&](int64_t begin, int64_t end) { AddRows(isa_, x, y, begin, end); });
}

void CpuDevice::AddScaled(Tensor x, Tensor y, float scale) {
  ForRows(x, [&](int64_t begin, int64_t end) { AddScaledRows(isa_, x, y, scale, begin, end); });
}

void CpuDevice::Scale(Tensor x, float scale) {
  ForRows(x, [&](int64_t begin, int64_t end) { ScaleAllRows(isa_, x, scale, begin, end); });
}

void CpuDevice::ScaleRows(Tensor x, std::span<const float> scales) {
  ForRows(x, [&](int64_t begin, int64_t end) { ScaleEachRow(isa_, x, scales, begin, end); });
}

void CpuDevice::Softcap(Tensor x, float cap) {
  ForRows(x, [&](int64_t begin, int64_t end) { SoftcapRows(isa_, x, cap, begin, end); });
}

}  // namespace barn
