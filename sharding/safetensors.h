#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/formats/dtype.h"
#include "sharding/store/store.h"

namespace barn {

inline constexpr int64_t kSafetensorsHeaderBytesMax = int64_t{4} << 20;

struct SafeTensor {
  DType dtype = DType::kF32;  // F32, F16 or BF16.
  std::vector<int64_t> shape;
  int64_t offset_bytes = 0;  // From the start of the file.
  int64_t size_bytes = 0;
};

// Tensors of a safetensors file by name. A file is a little-endian u64 length, a JSON header of that length with
// {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}} and data, from whose start offsets count
// (github.com/huggingface/safetensors). Untrusted: lengths are checked before memory is taken.
// InvalidArgument names the tensor and the numbers; Unimplemented: a tensor of another element type.
absl::StatusOr<std::map<std::string, SafeTensor>> ReadSafetensors(const Store& file);

}  // namespace barn
