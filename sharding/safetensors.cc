#include "sharding/safetensors.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"

namespace barn {
namespace {

constexpr int64_t kElementsMax = int64_t{1} << 48;
constexpr size_t kDimensionsMax = 8;

// A number in [0, most]; -1 for anything else.
int64_t Count(const nlohmann::json& value, int64_t most) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(most)) return -1;
  return static_cast<int64_t>(value.get<uint64_t>());
}

absl::StatusOr<DType> DTypeOf(const std::string& word, const std::string& label) {
  if (word == "F32") return DType::kF32;
  if (word == "F16") return DType::kF16;
  if (word == "BF16") return DType::kBF16;
  return absl::UnimplementedError(
      absl::StrFormat("%s is of type %s, want F32, F16 or BF16", label, QuoteForMessage(word)));
}

// data_bytes: of the file behind the header.
absl::StatusOr<SafeTensor> ReadEntry(const nlohmann::json& entry, const std::string& label, int64_t data_bytes) {
  const auto member = [&](const char* key) {
    const auto found = entry.find(key);
    return found == entry.end() ? nlohmann::json() : *found;
  };
  const nlohmann::json dtype = entry.is_object() ? member("dtype") : nlohmann::json();
  const nlohmann::json shape = entry.is_object() ? member("shape") : nlohmann::json();
  const nlohmann::json offsets = entry.is_object() ? member("data_offsets") : nlohmann::json();
  if (!dtype.is_string() || !shape.is_array() || shape.size() > kDimensionsMax || !offsets.is_array() ||
      offsets.size() != 2) {
    return absl::InvalidArgumentError(label + " lacks a dtype, a shape or two data_offsets");
  }
  SafeTensor tensor;
  BARN_ASSIGN_OR_RETURN(tensor.dtype, DTypeOf(dtype.get<std::string>(), label));
  int64_t elements = 1;
  for (const nlohmann::json& dim : shape) {
    const int64_t size = Count(dim, kElementsMax);
    if (size < 1 || elements > kElementsMax / size) {
      return absl::InvalidArgumentError(absl::StrFormat("%s has an impossible shape", label));
    }
    elements *= size;
    tensor.shape.push_back(size);
  }
  const int64_t begin = Count(offsets[0], data_bytes), end = Count(offsets[1], data_bytes);
  tensor.offset_bytes = begin;
  tensor.size_bytes = elements * RowBytes(tensor.dtype, 1);
  if (begin < 0 || end < begin || end - begin != tensor.size_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: data_offsets [%d, %d] of %d bytes, its shape needs %d",
                                                      label, begin, end, data_bytes, tensor.size_bytes));
  }
  return tensor;
}

}  // namespace

absl::StatusOr<std::map<std::string, SafeTensor>> ReadSafetensors(const Store& file) {
  const std::string name = file.Name();
  uint64_t length = 0;
  if (file.size_bytes() < static_cast<int64_t>(sizeof(length))) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %d bytes are no safetensors file", name, file.size_bytes()));
  }
  BARN_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(&length, 1))));
  const int64_t left = file.size_bytes() - static_cast<int64_t>(sizeof(length));
  const int64_t most = std::min(left, kSafetensorsHeaderBytesMax);
  if (length < 2 || length > static_cast<uint64_t>(most)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: a header of %d bytes, allowed are 2 to %d", name, length, most));
  }
  std::string text(length, '\0');
  BARN_RETURN_IF_ERROR(file.Read(sizeof(length), std::as_writable_bytes(std::span(text))));
  const nlohmann::json header = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::InvalidArgumentError(name + ": the header is no JSON object");
  const int64_t data_offset = static_cast<int64_t>(sizeof(length) + length);
  std::map<std::string, SafeTensor> tensors;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") continue;
    const std::string label = absl::StrFormat("%s: tensor %s", name, QuoteForMessage(key));
    BARN_ASSIGN_OR_RETURN(SafeTensor tensor, ReadEntry(entry, label, file.size_bytes() - data_offset));
    tensor.offset_bytes += data_offset;
    tensors.emplace(key, std::move(tensor));
  }
  return tensors;
}

}  // namespace barn
