#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "sharding/catalogue.h"
#include "sharding/model_config.h"

namespace barn {

// Several ranks on one machine may run a model together: each has whole heads (see SharesHeads), and some output rows
// of every product (of every expert too). Embedding, norms and biases are on every rank.

inline constexpr int kRanksMax = 64;

// Bytes of a tensor that a rank reads. Over all ranks they add up to the tensor, or to `ranks` times what all have.
int64_t RankBytes(const CatalogueEntry& entry, const ModelConfig& config, int rank, int ranks);

// KV bytes of a token that a rank keeps for a layer.
int64_t RankKvBytes(const KvShape& shape, KvType type, int ranks);

// Unimplemented: this model's layers cannot be shared so; why, with the numbers.
absl::Status CheckRanks(const Catalogue& catalogue, const ModelConfig& config, int ranks);

// How often ranks exchange what they have for one step.
int64_t ExchangesPerStep(const Catalogue& catalogue);

}  // namespace barn
