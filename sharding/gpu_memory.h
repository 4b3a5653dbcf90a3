#pragma once

#include <algorithm>
#include <cstdint>

#include "sharding/catalogue.h"
#include "sharding/model_config.h"

namespace barn {

// What a worker on a GPU offers of the card's memory: nine tenths are taken at once, the rest stays for the driver and
// for NCCL's own buffers; of these a thirtieth is lost between pieces.
inline constexpr double kGpuTakenShare = 0.9;
inline constexpr double kGpuOfferedShare = 0.97;

// What a step needs on a GPU beside weights, keys and values, and the activations that every device has: activations
// rounded to int8, partial results of attention that is split over blocks, candidates, and between ranks the columns
// that they exchange. Upper bounds, from the areas of kernels/cuda/gpu_device.h; gpu_memory_test holds them against it.
struct GpuWork {
  int64_t step_bytes = 0;      // Whatever the context.
  int64_t split_bytes = 0;     // For each kAttentionSplitTokens of the context, up to split_bytes_max.
  int64_t exchange_bytes = 0;  // Where ranks share the layers.

  static constexpr int64_t kAttentionSplitTokens = 256;
  static constexpr int64_t kSplitBytesMax = int64_t{64} << 20;

  int64_t Bytes(int64_t context_tokens, int ranks) const {
    const int64_t splits = (context_tokens + kAttentionSplitTokens - 1) / kAttentionSplitTokens;
    return step_bytes + (ranks > 1 ? exchange_bytes : 0) +
           (splits >= kSplitBytesMax / std::max<int64_t>(split_bytes, 1) ? kSplitBytesMax : splits * split_bytes);
  }
};

// Of steps of at most so many rows.
GpuWork GpuWorkOf(const Catalogue& catalogue, const ModelConfig& config, int64_t step_tokens_max);

}  // namespace barn
