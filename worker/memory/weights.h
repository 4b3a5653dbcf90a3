#pragma once

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"
#include "sharding/gguf.h"

namespace barn {

// Hands out the bytes of a model's tensors: a mapping of the model's files, or of a cache of this worker's share of
// them.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // tensor.size_bytes bytes, unchanged for the life of the source, aligned as the file was (GGUF: 32 bytes as a rule).
  // NotFound: the source does not hold this tensor. DataLoss, Unavailable: as the store says.
  virtual absl::StatusOr<std::span<const std::byte>> Tensor(const GgufTensor& tensor) = 0;

  // The device has its own copy of [offset, offset + length) of a tensor that Tensor() has handed out. They stay
  // readable, but need no memory any more.
  virtual void Drop(const GgufTensor& tensor, int64_t offset, int64_t length) = 0;
};

}  // namespace barn
