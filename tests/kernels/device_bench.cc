// What a device does beside products with weights, in the shapes of a model of 2048 columns. KV bytes of attention are
// compared with the memory's read bandwidth.
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/quantize_activations.h"
#include "tests/kernels/memory_share.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

constexpr int64_t kCols = 2048;

std::unique_ptr<Device> MakeDevice() { return CreateCpuDevice({.threads = BenchThreads()}).value(); }

// Grouped queries of Qwen3-30B-A3B: 32 heads, 4 of keys and values, 128 wide. The last `tokens` of `positions`; with
// kv_heads 8 four heads share each, and codes of 8 and 4 bits are read where they lie. `cache`: the KvType.
void BM_Attention(benchmark::State& state) {
  constexpr int64_t kHeads = 32, kWidth = 128, kBlock = 32;
  const int64_t tokens = state.range(0), positions = state.range(1), kv_heads = state.range(2);
  const auto type = static_cast<KvType>(state.range(3));
  const std::unique_ptr<Device> device = MakeDevice();
  const int64_t kv_bytes = positions * kv_heads * KvRowBytes(type, kWidth);
  const int64_t code_bytes = positions * kv_heads * KvCodeBytes(type, kWidth);
  const auto k = device->AllocateKv(kv_bytes).value(), v = device->AllocateKv(kv_bytes).value();
  KvLayer kv;
  kv.type = type;
  kv.k = k->data();
  kv.v = v->data();
  kv.k_scales = reinterpret_cast<uint16_t*>(reinterpret_cast<std::byte*>(k->data()) + code_bytes);
  kv.v_scales = reinterpret_cast<uint16_t*>(reinterpret_cast<std::byte*>(v->data()) + code_bytes);
  kv.block_tokens = kBlock;
  kv.kv_heads = kv_heads;
  kv.k_width = kv.v_width = kWidth;
  std::vector<int32_t> blocks(static_cast<size_t>(positions / kBlock));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::vector<float> rows = RandomActivations(positions * kv_heads * kWidth, 1);
  const Tensor all = {rows.data(), positions, kv_heads * kWidth, kv_heads * kWidth};
  const SequenceRows filled = {.first_row = 0, .rows = positions, .first_position = 0, .blocks = blocks};
  device->WriteKv(kv, {&filled, 1}, all, all);
  std::vector<float> q = RandomActivations(tokens * kHeads * kWidth, 2), out(q.size());
  const SequenceRows last = {.first_row = 0, .rows = tokens, .first_position = positions - tokens, .blocks = blocks};
  AttentionArgs args;
  args.q = {q.data(), tokens, kHeads * kWidth, kHeads * kWidth};
  args.out = {out.data(), tokens, kHeads * kWidth, kHeads * kWidth};
  args.kv = &kv;
  args.sequences = {&last, 1};
  args.heads = kHeads;
  args.scale = 0.088f;
  for (auto _ : state) device->Attention(args);
  state.SetLabel(std::string(KvTypeName(type)));
  ReportBytes(state, 2 * kv_bytes);
  // Two products of a query with a key or value for each position that it sees.
  const double seen = static_cast<double>(positions) - 0.5 * static_cast<double>(tokens - 1);
  state.counters["products"] = benchmark::Counter(2.0 * static_cast<double>(tokens * kHeads * kWidth) * seen,
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

void BM_RmsNorm(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const std::unique_ptr<Device> device = MakeDevice();
  std::vector<float> x = RandomActivations(tokens * kCols, 1), out(x.size());
  const std::vector<float> weight(kCols, 1.0f);
  for (auto _ : state) {
    device->RmsNorm({x.data(), tokens, kCols, kCols}, weight.data(), 1e-6f, {out.data(), tokens, kCols, kCols});
  }
  state.SetItemsProcessed(state.iterations() * tokens * kCols);
}

void BM_Rope(benchmark::State& state) {
  constexpr int64_t kWidth = 128;
  const int64_t tokens = state.range(0);
  const std::unique_ptr<Device> device = MakeDevice();
  std::vector<float> x = RandomActivations(tokens * kCols, 1);
  std::vector<int32_t> positions(static_cast<size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 1000);
  const std::vector<float> frequencies(kWidth / 2, 0.01f);
  RopeArgs args;
  args.x = {x.data(), tokens, kCols, kCols};
  args.heads = kCols / kWidth;
  args.head_width = args.width = kWidth;
  args.positions = positions;
  args.inverse_frequencies = frequencies;
  for (auto _ : state) device->Rope(args);
  state.SetItemsProcessed(state.iterations() * tokens * kCols);
}

void BM_GatedActivation(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const std::unique_ptr<Device> device = MakeDevice();
  const std::vector<float> start = RandomActivations(tokens * kCols, 1);
  std::vector<float> gate = start, up(start.size(), 1.0f);
  for (auto _ : state) {
    device->GatedActivation(Activation::kSilu, {gate.data(), tokens, kCols, kCols}, {up.data(), tokens, kCols, kCols});
  }
  state.SetItemsProcessed(state.iterations() * tokens * kCols);
}

// One thread, as each thread of a product does it for its rows.
void BM_Quantize(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const Isa isa = ChooseIsa().value();
  const KernelTable& kernels = isa == Isa::kScalar ? ScalarKernels()
                               : isa == Isa::kAvx2 ? Avx2Kernels()
                                                   : Avx512Kernels();
  const std::vector<float> x = RandomActivations(tokens * kCols, 1);
  QuantizedRows rows;
  rows.Resize(tokens, kCols);
  for (auto _ : state) {
    for (int64_t t = 0; t < tokens; ++t) rows.Quantize(kernels, t, x.data() + t * kCols);
  }
  state.SetItemsProcessed(state.iterations() * tokens * kCols);
  state.SetLabel(IsaName(isa));
}

// The best 40 of Gemma's vocabulary, and its logsumexp.
void BM_RankLogits(benchmark::State& state) {
  constexpr int64_t kVocabulary = 262144;
  const std::unique_ptr<Device> device = MakeDevice();
  const std::vector<float> logits = RandomActivations(kVocabulary, 1);
  for (auto _ : state) {
    LogitRanking ranking = {.logits = logits, .count = 40};
    device->RankLogits({&ranking, 1});
    benchmark::DoNotOptimize(ranking.logsumexp);
  }
  state.SetItemsProcessed(state.iterations() * kVocabulary);
}

const std::vector<int64_t> kCaches = {static_cast<int64_t>(KvType::kF16), static_cast<int64_t>(KvType::kQ8_0),
                                      static_cast<int64_t>(KvType::kQ4_0)};
BENCHMARK(BM_Attention)
    ->ArgNames({"tokens", "positions", "kv_heads", "cache"})
    ->ArgsProduct({{1}, {512, 32768}, {4}, kCaches})
    ->ArgsProduct({{1}, {32768}, {8}, kCaches})
    ->ArgsProduct({{512}, {512, 4096}, {4}, kCaches})
    ->UseRealTime();
BENCHMARK(BM_RmsNorm)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(BM_Rope)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(BM_GatedActivation)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(BM_Quantize)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(BM_RankLogits)->UseRealTime();

}  // namespace
}  // namespace barn

BENCHMARK_MAIN();
