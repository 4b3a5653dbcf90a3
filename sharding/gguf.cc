#include "sharding/gguf.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"
#include "sharding/gguf_header.h"
#include "sharding/gguf_parts.h"
#include "sharding/limits.h"

namespace barn {
namespace {

// A value of the split.* keys; -1 when the key is missing.
int64_t SplitValue(const GgufHeader& header, std::string_view key) { return header.metadata.Int(key).value_or(-1); }

// split.no and split.count must agree with where the file stands in the set.
absl::Status CheckPart(const GgufHeader& header, const std::string& name, int64_t index, int64_t count) {
  const int64_t split_count = SplitValue(header, "split.count");
  if (count == 1 && split_count <= 1) return absl::OkStatus();
  if (split_count != count) {
    return absl::InvalidArgumentError(
        split_count < 0
            ? absl::StrFormat("%s: split.count is missing, but the file is one of %d parts", name, count)
            : absl::StrFormat("%s: split.count is %d, but %d part%s given; parts are named NAME-00001-of-%05d.gguf",
                              name, split_count, count, count == 1 ? " is" : "s are", split_count));
  }
  const int64_t split_number = SplitValue(header, "split.no");
  if (split_number != index) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: split.no is %d, but the file stands at place %d of %d (counted from 0)", name,
                        split_number, index, count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GgufModel>> GgufModel::Open(std::string_view reference, const GgufOptions& options) {
  BARN_ASSIGN_OR_RETURN(const std::vector<std::string> references, PartReferences(reference));
  std::vector<std::shared_ptr<const Store>> parts;
  for (const std::string& part : references) {
    BARN_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenStore(part));
    parts.push_back(std::move(store));
  }
  return Read(std::move(parts), options);
}

absl::StatusOr<std::unique_ptr<GgufModel>> GgufModel::Read(std::vector<std::shared_ptr<const Store>> parts,
                                                           const GgufOptions& options) {
  if (parts.empty()) return absl::InvalidArgumentError("a model needs at least one file");
  auto model = std::make_unique<GgufModel>();
  int64_t expected_tensors = -1;
  int64_t total_bytes = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string name = parts[i]->Name();
    BARN_ASSIGN_OR_RETURN(GgufHeader header, ReadGgufHeader(*parts[i], options));
    BARN_RETURN_IF_ERROR(CheckPart(header, name, static_cast<int64_t>(i), static_cast<int64_t>(parts.size())));
    if (i == 0) expected_tensors = SplitValue(header, "split.tensors.count");
    for (GgufTensor& tensor : header.tensors) {
      tensor.part = static_cast<int>(i);
      if (!model->by_name_.emplace(tensor.name, model->tensors_.size()).second) {
        return absl::InvalidArgumentError(absl::StrFormat("%s: tensor %s at byte %d: an earlier part has it as well",
                                                          name, QuoteForMessage(tensor.name), tensor.offset_bytes));
      }
      total_bytes += tensor.size_bytes;  // Both stay below 2^62.
      if (total_bytes > kModelBytesMax) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s: tensor %s brings the sum of all sizes to %d bytes, above %d", name,
                            QuoteForMessage(tensor.name), total_bytes, kModelBytesMax));
      }
      model->tensors_.push_back(std::move(tensor));
    }
    if (i == 0) model->metadata_ = std::move(header.metadata);
  }
  if (parts.size() > 1 && expected_tensors != static_cast<int64_t>(model->tensors_.size())) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: split.tensors.count is %d, but the %d parts hold %d tensors",
                                                      parts[0]->Name(), expected_tensors, parts.size(),
                                                      model->tensors_.size()));
  }
  model->parts_ = std::move(parts);
  return model;
}

const GgufTensor* GgufModel::FindTensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace barn
