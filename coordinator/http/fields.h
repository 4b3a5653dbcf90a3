#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/string_view.h"
#include "coordinator/http/api_error.h"

namespace barn {

// Reads typed fields of a JSON object and keeps the first problem, with the name of its field. After a problem every
// read returns its default, so a parser reads all fields and asks for the error once. A field with null counts as
// absent.
class Fields {
 public:
  // `object` must outlive this and be a JSON object. `prefix` stands before names in errors, as "stream_options.".
  explicit Fields(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // The value, or null if it is absent.
  const nlohmann::json* Find(absl::string_view name) const;

  bool Bool(absl::string_view name, bool absent);
  std::string String(absl::string_view name, absl::string_view absent);
  // Bounds are inclusive.
  double Number(absl::string_view name, double absent, double min, double max);
  int64_t Integer(absl::string_view name, int64_t absent, int64_t min, int64_t max);
  std::optional<int64_t> OptionalInteger(absl::string_view name, int64_t min, int64_t max);

  void Fail(absl::string_view name, absl::string_view message);
  void Fail(ApiError error);
  bool ok() const { return !error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  const nlohmann::json& object_;
  const std::string prefix_;
  std::optional<ApiError> error_;
};

}  // namespace barn
