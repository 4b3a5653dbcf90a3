#include "coordinator/cli/memory_bound.h"

#include <algorithm>

namespace barn {
namespace {

// Rows of a lookup table are read one at a time; a tied head multiplies with the whole table.
int64_t DenseBytes(const CatalogueEntry& entry, bool tied_head) {
  const bool is_head = tied_head && entry.tensor.name == "token_embd.weight";
  if (entry.role != TensorRole::kEmbedding || is_head) return entry.tensor.size_bytes;
  return entry.tensor.size_bytes / std::max<int64_t>(entry.tensor.dims[1], 1);
}

}  // namespace

TokenBytes BytesOfToken(const Catalogue& catalogue, int64_t experts_used, std::span<const KvReads> layers,
                        int64_t positions) {
  TokenBytes bytes;
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.layer >= catalogue.layers) continue;
    if (entry.experts > 0) {
      bytes.experts += std::min(experts_used, entry.experts) * entry.expert_bytes;
    } else {
      bytes.dense += DenseBytes(entry, catalogue.tied_head);
    }
  }
  for (const KvReads& layer : layers) {
    const int64_t read = layer.positions_max > 0 ? std::min(positions, layer.positions_max) : positions;
    bytes.kv += read * layer.bytes_per_position;
  }
  return bytes;
}

double MemoryBoundTokensPerSecond(const TokenBytes& bytes, double read_bytes_per_s) {
  return read_bytes_per_s / static_cast<double>(std::max<int64_t>(bytes.total(), 1));
}

}  // namespace barn
