#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/formats/dtype.h"
#include "sharding/store/store.h"

namespace barn {

// One metadata value. Arrays keep their element type: integers of every width widen to int64/uint64, floats to double.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                               std::vector<uint64_t>, std::vector<double>, std::vector<std::string>>;

// The key-value part of a GGUF header. Getters convert between number types when the value fits and return nullopt for
// a missing key or another type.
class GgufMetadata {
 public:
  const GgufValue* Find(std::string_view key) const;
  std::optional<std::string> String(std::string_view key) const;
  std::optional<int64_t> Int(std::string_view key) const;
  std::optional<double> Float(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::vector<int64_t>> Ints(std::string_view key) const;  // A single integer reads as one element.
  std::optional<std::vector<double>> Floats(std::string_view key) const;
  std::optional<std::vector<bool>> Bools(std::string_view key) const;
  const std::vector<std::string>* Strings(std::string_view key) const;  // Borrowed; null when missing.

  void Set(std::string key, GgufValue value) { values_[std::move(key)] = std::move(value); }
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

 private:
  std::map<std::string, GgufValue, std::less<>> values_;
};

// A tensor's place. dims[0] is the contracted (contiguous) dimension; unused dims are 1.
struct GgufTensor {
  std::string name;
  DType dtype = DType::kF32;
  int64_t dims[4] = {1, 1, 1, 1};
  int dim_count = 0;
  int part = 0;              // Which file of a multi-part model.
  int64_t offset_bytes = 0;  // From the start of that file.
  int64_t size_bytes = 0;
};

struct GgufOptions {
  // The file may end where tensor data begins: for planning and showing without the data.
  bool header_only = false;
};

// The header of a model: one file, or all parts of a -00001-of-0000N set (given any part). Metadata is the first
// part's.
class GgufModel {
 public:
  // Reads headers only. `reference`: path or http(s) URL. InvalidArgument or DataLoss name the field and its offset.
  static absl::StatusOr<std::unique_ptr<GgufModel>> Open(std::string_view reference, const GgufOptions& options = {});
  // From stores that are already open, in part order.
  static absl::StatusOr<std::unique_ptr<GgufModel>> Read(std::vector<std::shared_ptr<const Store>> parts,
                                                         const GgufOptions& options = {});

  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;
  const std::vector<std::shared_ptr<const Store>>& parts() const { return parts_; }
  std::string architecture() const { return metadata_.String("general.architecture").value_or(""); }

 private:
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::vector<std::shared_ptr<const Store>> parts_;
};

}  // namespace barn
