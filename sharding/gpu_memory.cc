#include "sharding/gpu_memory.h"

#include <bit>

#include "sharding/ranks.h"

namespace barn {
namespace {

constexpr int64_t kLogitRowsMax = 16;  // worker/model/slice.h
constexpr int64_t kRankedMax = 512;    // kernels/cuda/logit_ranking.h
constexpr int64_t kRankingChunk = 1024;
constexpr int64_t kQueriesMax = 16;       // kernels/cuda/attention.cu: of a block.
constexpr int64_t kSplitBlocksMax = 384;  // Attention is split while blocks are fewer than two for each multiprocessor.
constexpr int64_t kSmallArraysBytes = 128 << 10;  // Positions, block tables, tiles, routes of a step, for each ...
constexpr int64_t kSmallArraysRows = 512;         // ... so many rows.
constexpr int64_t kUnevenColumns = 64;            // worker/exchange/nccl_collective.cc
constexpr int64_t kFloatsMax = int64_t{1} << 40;  // Bounds what hostile shapes make of a product.

int64_t Times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kFloatsMax : std::min(product, kFloatsMax);
}

// The largest over all layers, for one row of a step.
struct Widest {
  int64_t input = 0;   // Columns that a product contracts, of all experts of the row.
  int64_t output = 0;  // Rows of a product, likewise.
};

Widest WidestProducts(const Catalogue& catalogue, const ModelConfig& config) {
  Widest widest;
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.layer < 0 || entry.layer >= catalogue.layers || entry.tensor.dim_count < 2) continue;
    // Heads that stand one behind the other in a tensor are rows of its product.
    const int64_t matrices = entry.experts > 0 ? std::max<int64_t>(config.experts_used, 1) : entry.tensor.dims[2];
    widest.input = std::max(widest.input, Times(entry.tensor.dims[0], std::max<int64_t>(matrices, 1)));
    widest.output = std::max(widest.output, Times(entry.tensor.dims[1], std::max<int64_t>(matrices, 1)));
  }
  return widest;
}

}  // namespace

GpuWork GpuWorkOf(const Catalogue& catalogue, const ModelConfig& config, int64_t step_tokens_max) {
  const Widest widest = WidestProducts(catalogue, config);
  const int64_t logit_bytes = std::min(config.vocabulary, kFloatsMax) * int64_t{sizeof(float)};
  GpuWork work;
  // Codes of a byte and a scale of 8 bytes for each 32.
  work.step_bytes += Times(step_tokens_max, widest.input) / 4 * 5;
  if (config.architecture == "llama4") work.step_bytes += Times(step_tokens_max, 4 * config.width);
  // Rows of logits that the host has changed go back in pieces of powers of two; candidates are ranked beside them.
  work.step_bytes += kLogitRowsMax * static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(logit_bytes)));
  work.step_bytes += 2 * (config.vocabulary / kRankingChunk + 1) * kRankedMax * int64_t{sizeof(uint64_t)};
  work.step_bytes += (step_tokens_max / kSmallArraysRows + 1) * kSmallArraysBytes;
  int64_t v_width = 0;
  for (const KvShape& shape : config.kv) v_width = std::max(v_width, shape.v_width);
  work.split_bytes = kSplitBlocksMax * kQueriesMax * (std::min(v_width, kFloatsMax) + 2) * int64_t{sizeof(float)};
  const int64_t exchanged =
      std::max(Times(step_tokens_max, std::max(widest.output, config.width)), Times(kLogitRowsMax, config.vocabulary));
  work.exchange_bytes = (exchanged + kUnevenColumns * kRanksMax) * int64_t{sizeof(float)};
  return work;
}

}  // namespace barn
