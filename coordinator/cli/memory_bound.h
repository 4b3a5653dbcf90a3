#pragma once

#include <cstdint>
#include <span>

#include "sharding/catalogue.h"

namespace barn {

// What one layer's attention reads of the key-value cache.
struct KvReads {
  int64_t bytes_per_position = 0;
  int64_t positions_max = 0;  // A sliding window or a chunk; 0: all.
};

// Bytes that one generated token of one sequence reads, each once.
struct TokenBytes {
  int64_t dense = 0;    // Every weight but routed experts; of an embedding that is not the head also, one row.
  int64_t experts = 0;  // The used share of the routed experts.
  int64_t kv = 0;       // Keys and values of the positions before it and its own.

  int64_t total() const { return dense + experts + kv; }
};

// positions: in the context, the token's own included. The bytes are those of the file: panels of repacked weights take
// as many, and layers that are not run (multi-token prediction) do not count.
TokenBytes BytesOfToken(const Catalogue& catalogue, int64_t experts_used, std::span<const KvReads> layers,
                        int64_t positions);

// Tokens per second of one stream when reading those bytes is all that takes time. Stages of a pipeline take turns, so
// it bounds them too. What stays in a cache from one token to the next may exceed it.
double MemoryBoundTokensPerSecond(const TokenBytes& bytes, double read_bytes_per_s);

}  // namespace barn
