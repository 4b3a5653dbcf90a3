#include "worker/memory/mapped_weights.h"

#include <string>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// Bytes read into memory, where a store cannot map.
class ReadRange : public ByteRange {
 public:
  explicit ReadRange(int64_t length) : bytes_(static_cast<size_t>(length)) {}
  std::span<const std::byte> bytes() const override { return bytes_; }
  std::span<std::byte> writable() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

absl::StatusOr<std::unique_ptr<ByteRange>> MapOrRead(const Store& store, int64_t offset, int64_t length) {
  auto mapped = store.Map(offset, length);
  if (mapped.ok() || mapped.status().code() != absl::StatusCode::kUnimplemented) {
    return mapped;
  }
  auto range = std::make_unique<ReadRange>(length);
  const absl::Status read = store.Read(offset, range->writable());
  if (!read.ok()) {
    return read;
  }
  return range;
}

}  // namespace

absl::StatusOr<std::span<const std::byte>> MappedWeights::Tensor(const GgufTensor& tensor) {
  if (tensor.part < 0 || tensor.part >= static_cast<int>(parts_.size())) {
    return absl::NotFoundError(
        absl::StrFormat("%s lies in part %d of a model of %d", tensor.name, tensor.part, parts_.size()));
  }
  const Store& store = *parts_[tensor.part];
  if (tensor.offset_bytes < 0 || tensor.size_bytes < 0 || tensor.offset_bytes > store.size_bytes() ||
      tensor.size_bytes > store.size_bytes() - tensor.offset_bytes) {
    return absl::DataLossError(absl::StrFormat("%s lies at %d + %d, beyond the %d bytes of %s", tensor.name,
                                               tensor.offset_bytes, tensor.size_bytes, store.size_bytes(),
                                               store.Name()));
  }
  std::unique_ptr<ByteRange>& range = ranges_[{tensor.part, tensor.offset_bytes, tensor.size_bytes}];
  if (range == nullptr) {
    auto loaded = MapOrRead(store, tensor.offset_bytes, tensor.size_bytes);
    if (!loaded.ok()) {
      return loaded.status();
    }
    range = *std::move(loaded);
  }
  return range->bytes();
}

void MappedWeights::Drop(const GgufTensor& tensor, int64_t offset, int64_t length) {
  const auto found = ranges_.find({tensor.part, tensor.offset_bytes, tensor.size_bytes});
  if (found != ranges_.end()) {
    found->second->Drop(offset, length);
  }
}

}  // namespace barn
