#include <benchmark/benchmark.h>

#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "tests/kernels/memory_share.h"
#include "tests/kernels/random_weights.h"

// Weight bytes and products per second of each format, on the instruction set and the threads of the environment:
// BARN_CPU_ISA, BARN_ACTIVATIONS, BARN_BENCH_THREADS; of_memory compares with what as many threads read. One token
// meets 64 MiB of weights, more than the caches hold, or 128 KiB, which shows what the arithmetic alone allows; many
// tokens meet 4 MiB.

namespace barn {
namespace {

constexpr int64_t kCols = 2048;

std::unique_ptr<Device> MakeDevice() { return CreateCpuDevice({.threads = BenchThreads()}).value(); }

void BM_MatMul(benchmark::State& state, DType dtype) {
  const int64_t tokens = state.range(0);
  const std::unique_ptr<Device> device = MakeDevice();
  const int64_t rows = (state.range(1) << 10) / RowBytes(dtype, kCols) / 16 * 16;
  const std::vector<std::byte> bytes = RandomWeights(dtype, rows, kCols, 1);
  const auto weight = device->Upload(dtype, {.rows = rows, .cols = kCols}, bytes).value();
  std::vector<float> x = RandomActivations(tokens * kCols, 2);
  std::vector<float> out(static_cast<size_t>(tokens * rows));
  const Projection projection = {weight.get(), nullptr, {out.data(), tokens, rows, rows}};
  for (auto _ : state) device->MatMul({&projection, 1}, {x.data(), tokens, kCols, kCols});
  ReportBytes(state, static_cast<int64_t>(bytes.size()));
  state.counters["products"] =
      benchmark::Counter(static_cast<double>(tokens * rows * kCols), benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(device->Describe());
}

// A routed layer with the shapes of Qwen3-30B-A3B; every token draws its own experts.
void BM_RoutedFfn(benchmark::State& state, DType dtype) {
  constexpr int64_t kExperts = 128, kUsed = 8, kHidden = 768;
  const int64_t tokens = state.range(0);
  const std::unique_ptr<Device> device = MakeDevice();
  const std::vector<std::byte> bytes = RandomWeights(dtype, kExperts * kHidden, kCols, 1);
  const MatrixShape wide = {.count = kExperts, .rows = kHidden, .cols = kCols};
  const MatrixShape tall = {.count = kExperts, .rows = kCols, .cols = kHidden};
  const auto gate = device->Upload(dtype, wide, bytes).value();
  const auto up = device->Upload(dtype, wide, bytes).value();
  const auto down = device->Upload(dtype, tall, bytes).value();
  std::vector<float> x = RandomActivations(tokens * kCols, 2), out(x.size());
  std::vector<int32_t> experts(static_cast<size_t>(tokens * kUsed));
  const std::vector<float> weights(experts.size(), 0.125f);
  uint32_t seed = 1;
  for (auto _ : state) {
    for (size_t i = 0; i < experts.size(); ++i) {
      experts[i] = static_cast<int32_t>((i % kUsed) * 16 + (seed = seed * 1664525 + 1013904223) / 65536 % 16);
    }
    device->RoutedFfn({.gate = gate.get(), .up = up.get(), .down = down.get()},
                      {.k = kUsed, .experts = experts, .weights = weights}, {x.data(), tokens, kCols, kCols},
                      {out.data(), tokens, kCols, kCols});
  }
  ReportBytes(state, device->counters().expert_bytes_read / static_cast<int64_t>(state.iterations()));
  state.counters["tokens"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
}

void Register() {
  std::vector<DType> types = CpuInt8Types();
  types.insert(types.begin(), std::begin(kPlainTypes), std::end(kPlainTypes));
  for (const DType dtype : types) {
    const std::string name = std::string("MatMul/") + Info(dtype).name;
    benchmark::RegisterBenchmark(name.c_str(), BM_MatMul, dtype)
        ->ArgNames({"tokens", "KiB"})
        ->Args({1, 64 << 10})
        ->Args({1, 128})
        ->Args({128, 4 << 10})
        ->UseRealTime();
  }
  for (const DType dtype : {DType::kQ4_K, DType::kQ2_K, DType::kIQ3_XXS, DType::kIQ2_XXS, DType::kIQ1_S}) {
    const std::string name = std::string("RoutedFfn/") + Info(dtype).name;
    benchmark::RegisterBenchmark(name.c_str(), BM_RoutedFfn, dtype)->Arg(1)->Arg(512)->UseRealTime();
  }
}

}  // namespace
}  // namespace barn

int main(int argc, char** argv) {
  barn::Register();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
