#include "coordinator/http/fields.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace barn {

const nlohmann::json* Fields::Find(absl::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool Fields::Bool(absl::string_view name, bool absent) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, absl::StrCat("must be true or false, not ", value->type_name()));
  return absent;
}

std::string Fields::String(absl::string_view name, absl::string_view absent) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return std::string(absent);
  if (value->is_string()) return value->get<std::string>();
  Fail(name, absl::StrCat("must be a string, not ", value->type_name()));
  return std::string(absent);
}

double Fields::Number(absl::string_view name, double absent, double min, double max) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return absent;
  if (!value->is_number()) {
    Fail(name, absl::StrCat("must be a number, not ", value->type_name()));
    return absent;
  }
  const double number = value->get<double>();
  if (number >= min && number <= max) return number;
  Fail(name, absl::StrCat("is ", number, ", must be from ", min, " to ", max));
  return absent;
}

int64_t Fields::Integer(absl::string_view name, int64_t absent, int64_t min, int64_t max) {
  return OptionalInteger(name, min, max).value_or(absent);
}

std::optional<int64_t> Fields::OptionalInteger(absl::string_view name, int64_t min, int64_t max) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    Fail(name, absl::StrCat("must be an integer, not ", value->is_number() ? value->dump() : value->type_name()));
    return std::nullopt;
  }
  // Values above int64 are stored unsigned; they compare as the largest one.
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const int64_t number = huge ? std::numeric_limits<int64_t>::max() : value->get<int64_t>();
  if (!huge && number >= min && number <= max) return number;
  Fail(name, absl::StrCat("is ", value->dump(), ", must be from ", min, " to ", max));
  return std::nullopt;
}

void Fields::Fail(absl::string_view name, absl::string_view message) {
  const std::string full = absl::StrCat(prefix_, name);
  Fail(BadParam(full, absl::StrCat("'", full, "' ", message)));
}

void Fields::Fail(ApiError error) {
  if (!error_.has_value()) error_ = std::move(error);
}

}  // namespace barn
