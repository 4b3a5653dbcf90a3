#include "sharding/ranks.h"

#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"
#include "sharding/rank_cut.h"

namespace barn {
namespace {

// The one row that scales a shared expert is on every rank, and so is a classification head.
bool IsCut(const CatalogueEntry& entry) {
  switch (entry.role) {
    case TensorRole::kAttention:
    case TensorRole::kDenseFfn:
    case TensorRole::kRouter:
    case TensorRole::kExpert:
    case TensorRole::kSharedExpert:
    case TensorRole::kHead:
      if (entry.tensor.name.starts_with("cls.")) return false;
      return entry.tensor.dim_count >= 2 && entry.tensor.dims[1] > 1 && entry.tensor.name.ends_with(".weight");
    default:
      return false;
  }
}

// Its rows are heads: queries, keys, values.
bool IsOfHeads(const CatalogueEntry& entry) {
  const std::string_view name = entry.tensor.name;
  return entry.layer >= 0 && (name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight") ||
                              name.ends_with(".attn_v.weight") || name.ends_with(".attn_qkv.weight"));
}

absl::Status CheckLayer(const ModelConfig& config, int64_t layer) {
  const KvShape& kv = config.kv[static_cast<size_t>(layer)];
  if (kv.v_is_k_prefix || config.architecture == "deepseek2") {
    return absl::UnimplementedError("latent attention is not shared by ranks yet");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t RankBytes(const CatalogueEntry& entry, const ModelConfig& config, int rank, int ranks) {
  const int64_t rows = entry.tensor.dims[1];
  if (ranks == 1 || !IsCut(entry) || rows < ranks) return entry.tensor.size_bytes;
  if (IsOfHeads(entry) && !SharesHeads(config.kv[static_cast<size_t>(entry.layer)].kv_heads, ranks)) {
    return entry.tensor.size_bytes;
  }
  const std::vector<int64_t> bounds = CutRows(rows, ranks);
  // Every row of a tensor has the same bytes, and what follows in further dimensions is cut alike.
  return entry.tensor.size_bytes / rows * (bounds[rank + 1] - bounds[rank]);
}

int64_t RankKvBytes(const KvShape& shape, KvType type, int ranks) {
  return SharesHeads(shape.kv_heads, ranks) ? shape.bytes_per_token(type) / ranks : shape.bytes_per_token(type);
}

absl::Status CheckRanks(const Catalogue& catalogue, const ModelConfig& config, int ranks) {
  if (ranks > kRanksMax) return absl::UnimplementedError(absl::StrFormat("%d ranks, at most %d", ranks, kRanksMax));
  for (int64_t layer = 0; layer < config.layers; ++layer) BARN_RETURN_IF_ERROR(CheckLayer(config, layer));
  if (config.vocabulary < ranks || config.width < ranks) {
    return absl::UnimplementedError(absl::StrFormat("a width of %d for %d ranks", config.width, ranks));
  }
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.layer < 0 || entry.layer >= config.layers) continue;
    const std::string_view name = entry.tensor.name;
    const int64_t k_width = config.kv[static_cast<size_t>(entry.layer)].k_width;
    if (name.ends_with(".attn_q_norm.weight") && entry.tensor.dims[0] > k_width) {
      return absl::UnimplementedError("one norm over all heads is not shared by ranks yet");
    }
    if (IsCut(entry) && entry.tensor.dims[1] < ranks) {
      return absl::UnimplementedError(absl::StrFormat("tensor %s has %d rows for %d ranks",
                                                      QuoteForMessage(entry.tensor.name), entry.tensor.dims[1], ranks));
    }
  }
  return absl::OkStatus();
}

int64_t ExchangesPerStep(const Catalogue& catalogue) {
  // What all heads give, attention's output, hidden values, feed-forward's output; and once the logits.
  int64_t exchanges = 4 * catalogue.layers + 1;
  for (const CatalogueEntry& entry : catalogue.entries) {
    const std::string_view name = entry.tensor.name;
    exchanges += name.ends_with(".ffn_gate_inp.weight") || name.ends_with(".ffn_down_shexp.weight") ? 1 : 0;
  }
  return exchanges;
}

}  // namespace barn
