#include "sharding/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"
#include "sharding/gguf_value.h"

namespace barn {
namespace {

constexpr int64_t kKeyBytesMax = 65535;  // The specification's limit.
constexpr int64_t kTensorNameBytesMax = 255;
constexpr uint64_t kMetadataCountMax = 1 << 16;
constexpr uint64_t kTensorCountMax = 1 << 20;
constexpr int64_t kMetadataEntryBytesMin = 8 + 1 + 4 + 1;  // Key length, key, type, value.
constexpr int64_t kTensorEntryBytesMin =
    8 + 1 + 4 + 8 + 4 + 8;  // Name length, name, count, one dimension, type, offset.
constexpr int64_t kAlignmentDefault = 32;
constexpr int64_t kAlignmentMax = 1 << 20;

// A tensor and where its entry stands in the header, for messages.
struct TensorEntry {
  GgufTensor tensor;
  int64_t offset_field_at = 0;
};

class HeaderReader {
 public:
  HeaderReader(const Store& store, const GgufOptions& options) : store_(store), options_(options), cursor_(store) {}

  absl::StatusOr<GgufHeader> Read() {
    BARN_RETURN_IF_ERROR(ReadMagicAndVersion());
    BARN_ASSIGN_OR_RETURN(const uint64_t tensor_count,
                          ReadCount("tensor count", kTensorCountMax, kTensorEntryBytesMin));
    BARN_ASSIGN_OR_RETURN(const uint64_t metadata_count,
                          ReadCount("metadata count", kMetadataCountMax, kMetadataEntryBytesMin));
    for (uint64_t i = 0; i < metadata_count; ++i) BARN_RETURN_IF_ERROR(ReadMetadataEntry(i));
    for (uint64_t i = 0; i < tensor_count; ++i) BARN_RETURN_IF_ERROR(ReadTensorEntry(i));
    BARN_RETURN_IF_ERROR(PlaceTensors());
    return std::move(header_);
  }

 private:
  absl::Status ReadMagicAndVersion();
  absl::StatusOr<uint64_t> ReadCount(std::string_view field, uint64_t count_max, int64_t entry_bytes_min);
  absl::Status ReadMetadataEntry(uint64_t index);
  absl::Status ReadTensorEntry(uint64_t index);
  absl::Status ReadShape(const std::string& label, GgufTensor& tensor);
  absl::Status ReadType(const std::string& label, int64_t elements, GgufTensor& tensor);
  absl::Status CheckOverlaps() const;
  absl::Status PlaceTensors();

  const Store& store_;
  const GgufOptions options_;
  GgufCursor cursor_;
  GgufHeader header_;
  int64_t alignment_ = kAlignmentDefault;
  int64_t array_elements_ = 0;
  std::set<std::string, std::less<>> tensor_names_;
  std::vector<TensorEntry> entries_;
};

absl::Status HeaderReader::ReadMagicAndVersion() {
  std::array<char, 4> magic;
  BARN_RETURN_IF_ERROR(cursor_.ReadBytes(std::as_writable_bytes(std::span(magic)), "magic"));
  const std::string_view text(magic.data(), magic.size());
  if (text != "GGUF") {
    return cursor_.Invalid("magic", 0, absl::StrCat(QuoteForMessage(text), " is not \"GGUF\"; this is no GGUF file"));
  }
  BARN_ASSIGN_OR_RETURN(header_.version, cursor_.ReadNumber<uint32_t>("version"));
  if (header_.version != 0 && (header_.version & 0xffff) == 0) {
    return cursor_.Invalid("version", 4, "the file is big-endian; only little-endian files are supported");
  }
  if (header_.version != 2 && header_.version != 3) {
    return cursor_.Invalid("version", 4, absl::StrFormat("version %d is not supported; 2 and 3 are", header_.version));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> HeaderReader::ReadCount(std::string_view field, uint64_t count_max, int64_t entry_bytes_min) {
  const int64_t at = cursor_.offset();
  BARN_ASSIGN_OR_RETURN(const uint64_t count, cursor_.ReadNumber<uint64_t>(field));
  if (count > count_max) return cursor_.Invalid(field, at, absl::StrFormat("%d is above %d", count, count_max));
  const int64_t bytes_min = static_cast<int64_t>(count) * entry_bytes_min;
  if (bytes_min > cursor_.remaining_bytes()) {
    return cursor_.Truncated(field, at,
                             absl::StrFormat("%d entries take at least %d bytes, but %d remain", count, bytes_min,
                                             cursor_.remaining_bytes()));
  }
  return count;
}

absl::Status HeaderReader::ReadMetadataEntry(uint64_t index) {
  const int64_t at = cursor_.offset();
  const std::string key_field = absl::StrFormat("metadata key %d", index);
  BARN_ASSIGN_OR_RETURN(std::string key, cursor_.ReadString(kKeyBytesMax, key_field));
  if (key.empty()) return cursor_.Invalid(key_field, at, "the key is empty");
  if (header_.metadata.Find(key) != nullptr) {
    return cursor_.Invalid(key_field, at, absl::StrCat("the key ", QuoteForMessage(key), " appears twice"));
  }
  const int64_t value_at = cursor_.offset();
  const std::string label = absl::StrCat("metadata ", QuoteForMessage(key));
  BARN_ASSIGN_OR_RETURN(GgufValue value, ReadGgufValue(cursor_, label, array_elements_));
  header_.metadata.Set(key, std::move(value));
  if (key == "general.alignment") {
    const std::optional<int64_t> alignment = header_.metadata.Int(key);
    // The specification wants a multiple of 8; a power of two keeps mapped blocks aligned in memory as well.
    if (!alignment || *alignment < 8 || *alignment > kAlignmentMax ||
        !std::has_single_bit(static_cast<uint64_t>(*alignment))) {
      return cursor_.Invalid(label, value_at,
                             absl::StrFormat("the alignment must be a power of two from 8 to %d", kAlignmentMax));
    }
    alignment_ = *alignment;
  }
  return absl::OkStatus();
}

absl::Status HeaderReader::ReadShape(const std::string& label, GgufTensor& tensor) {
  const int64_t at = cursor_.offset();
  BARN_ASSIGN_OR_RETURN(const uint32_t dim_count, cursor_.ReadNumber<uint32_t>(label + " dimension count"));
  if (dim_count < 1 || dim_count > 4) {
    return cursor_.Invalid(label + " dimension count", at, absl::StrFormat("%d is not 1 to 4", dim_count));
  }
  tensor.dim_count = static_cast<int>(dim_count);
  int64_t elements = 1;
  for (uint32_t d = 0; d < dim_count; ++d) {
    const int64_t dim_at = cursor_.offset();
    const std::string field = absl::StrFormat("%s dimension %d", label, d);
    BARN_ASSIGN_OR_RETURN(const uint64_t dim, cursor_.ReadNumber<uint64_t>(field));
    if (dim == 0) return cursor_.Invalid(field, dim_at, "is 0");
    if (dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        __builtin_mul_overflow(elements, static_cast<int64_t>(dim), &elements)) {
      return cursor_.Invalid(field, dim_at, absl::StrFormat("%d makes the element count overflow 63 bits", dim));
    }
    tensor.dims[d] = static_cast<int64_t>(dim);
  }
  return ReadType(label, elements, tensor);
}

absl::Status HeaderReader::ReadType(const std::string& label, int64_t elements, GgufTensor& tensor) {
  const int64_t at = cursor_.offset();
  const std::string field = label + " type";
  BARN_ASSIGN_OR_RETURN(const uint32_t id, cursor_.ReadNumber<uint32_t>(field));
  const DTypeInfo* info = FindDType(id);
  if (info == nullptr) return cursor_.Invalid(field, at, DescribeUnknownDType(id));
  tensor.dtype = info->dtype;
  if (tensor.dims[0] % info->block_elements != 0) {
    return cursor_.Invalid(field, at,
                           absl::StrFormat("rows of %d elements are no whole number of %s blocks (%d elements)",
                                           tensor.dims[0], info->name, info->block_elements));
  }
  // Whole blocks per row, so the total is a whole number of blocks as well.
  if (__builtin_mul_overflow(elements / info->block_elements, info->block_bytes, &tensor.size_bytes)) {
    return cursor_.Invalid(field, at, absl::StrFormat("%d elements of %s overflow 63 bits", elements, info->name));
  }
  return absl::OkStatus();
}

absl::Status HeaderReader::ReadTensorEntry(uint64_t index) {
  const int64_t at = cursor_.offset();
  TensorEntry entry;
  GgufTensor& tensor = entry.tensor;
  const std::string name_field = absl::StrFormat("name of tensor %d", index);
  BARN_ASSIGN_OR_RETURN(tensor.name, cursor_.ReadString(kTensorNameBytesMax, name_field));
  if (tensor.name.empty()) return cursor_.Invalid(name_field, at, "the name is empty");
  if (!tensor_names_.insert(tensor.name).second) {
    return cursor_.Invalid(name_field, at, absl::StrCat("the name ", QuoteForMessage(tensor.name), " appears twice"));
  }
  const std::string label = absl::StrCat("tensor ", QuoteForMessage(tensor.name));
  BARN_RETURN_IF_ERROR(ReadShape(label, tensor));
  entry.offset_field_at = cursor_.offset();
  BARN_ASSIGN_OR_RETURN(const uint64_t offset, cursor_.ReadNumber<uint64_t>(label + " offset"));
  if (offset % static_cast<uint64_t>(alignment_) != 0) {
    return cursor_.Invalid(label + " offset", entry.offset_field_at,
                           absl::StrFormat("%d is not a multiple of the alignment %d", offset, alignment_));
  }
  // The sum with the header (at most 1 GiB) and the size must stay below 2^63.
  constexpr uint64_t kOffsetMax = uint64_t{1} << 62;
  if (offset > kOffsetMax || tensor.size_bytes > static_cast<int64_t>(kOffsetMax - offset)) {
    return cursor_.Invalid(label + " offset", entry.offset_field_at,
                           absl::StrFormat("%d with a size of %d bytes is too large", offset, tensor.size_bytes));
  }
  tensor.offset_bytes = static_cast<int64_t>(offset);
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status HeaderReader::CheckOverlaps() const {
  std::vector<const TensorEntry*> by_offset;
  by_offset.reserve(entries_.size());
  for (const TensorEntry& entry : entries_) by_offset.push_back(&entry);
  std::stable_sort(by_offset.begin(), by_offset.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return a->tensor.offset_bytes < b->tensor.offset_bytes;
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensor& before = by_offset[i - 1]->tensor;
    const GgufTensor& tensor = by_offset[i]->tensor;
    const int64_t end = before.offset_bytes + before.size_bytes;
    if (end <= tensor.offset_bytes) continue;
    return cursor_.Invalid(absl::StrCat("tensor ", QuoteForMessage(tensor.name), " offset"),
                           by_offset[i]->offset_field_at,
                           absl::StrFormat("%d lies inside tensor %s, which ends at %d", tensor.offset_bytes,
                                           QuoteForMessage(before.name), end));
  }
  return absl::OkStatus();
}

absl::Status HeaderReader::PlaceTensors() {
  const int64_t header_end = cursor_.offset();
  header_.data_offset_bytes = (header_end + alignment_ - 1) / alignment_ * alignment_;
  BARN_RETURN_IF_ERROR(CheckOverlaps());
  header_.tensors.reserve(entries_.size());
  for (TensorEntry& entry : entries_) {
    GgufTensor& tensor = entry.tensor;
    tensor.offset_bytes += header_.data_offset_bytes;
    const int64_t end = tensor.offset_bytes + tensor.size_bytes;
    if (!options_.header_only && end > store_.size_bytes()) {
      return cursor_.Truncated(absl::StrCat("tensor ", QuoteForMessage(tensor.name), " offset"), entry.offset_field_at,
                               absl::StrFormat("its data ends at %d, but the file ends at %d (%d bytes missing)", end,
                                               store_.size_bytes(), end - store_.size_bytes()));
    }
    header_.tensors.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufHeader> ReadGgufHeader(const Store& store, const GgufOptions& options) {
  return HeaderReader(store, options).Read();
}

}  // namespace barn
