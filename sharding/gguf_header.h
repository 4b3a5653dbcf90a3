#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/gguf.h"
#include "sharding/store/store.h"

namespace barn {

// The header of one GGUF file. Tensor offsets count from the start of the file; part is 0.
struct GgufHeader {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // In file order.
  int64_t data_offset_bytes = 0;    // Where tensor data begins.
};

// Reads and checks one file's header (versions 2 and 3, little endian). Everything in it is untrusted: counts, lengths
// and sums are checked against the bytes that remain before memory is taken. Format: GGUF specification,
// github.com/ggml-org/ggml/blob/master/docs/gguf.md.
// InvalidArgument: malformed. DataLoss: the file ends too early. Both name field and byte offset in one line.
absl::StatusOr<GgufHeader> ReadGgufHeader(const Store& store, const GgufOptions& options);

}  // namespace barn
