#include "worker/model/config_reader.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace barn {

std::string ConfigReader::FullKey(std::string_view key) const {
  return absl::StrFormat("%s.%s", config_.architecture, key);
}

bool ConfigReader::Has(std::string_view key) const { return model_.metadata().Find(FullKey(key)) != nullptr; }

int64_t ConfigReader::Int(std::string_view key, int64_t max) {
  if (!Has(key)) {
    Fail(absl::StrFormat("key %s is missing", FullKey(key)));
    return 1;
  }
  const int64_t value = IntOr(key, 1, max);
  if (value < 1) {
    Fail(absl::StrFormat("key %s is %d, want 1 to %d", FullKey(key), value, max));
    return 1;
  }
  return value;
}

int64_t ConfigReader::IntOr(std::string_view key, int64_t otherwise, int64_t max) {
  if (!Has(key)) {
    return otherwise;
  }
  const auto values = model_.metadata().Ints(FullKey(key));
  if (!values || values->empty()) {
    Fail(absl::StrFormat("key %s is not an integer", FullKey(key)));
    return 1;
  }
  for (const int64_t value : *values) {
    if (value != values->front()) {
      Fail(absl::StrFormat("key %s differs between layers (%d and %d), which %s does not support", FullKey(key),
                           values->front(), value, config_.architecture));
      return 1;
    }
  }
  if (values->front() < 0 || values->front() > max) {
    Fail(absl::StrFormat("key %s is %d, want 0 to %d", FullKey(key), values->front(), max));
    return 1;
  }
  return values->front();
}

double ConfigReader::Float(std::string_view key) {
  if (!Has(key)) {
    Fail(absl::StrFormat("key %s is missing", FullKey(key)));
    return 1;
  }
  const double value = FloatOr(key, 1);
  if (!(value > 0)) {
    Fail(absl::StrFormat("key %s is %g, want a positive number", FullKey(key), value));
    return 1;
  }
  return value;
}

double ConfigReader::FloatOr(std::string_view key, double otherwise) {
  if (!Has(key)) {
    return otherwise;
  }
  const auto value = model_.metadata().Float(FullKey(key));
  if (!value || !std::isfinite(*value)) {
    Fail(absl::StrFormat("key %s is not a finite number", FullKey(key)));
    return otherwise;
  }
  return *value;
}

bool ConfigReader::BoolOr(std::string_view key, bool otherwise) {
  const auto value = model_.metadata().Bool(FullKey(key));
  if (!value && Has(key)) {
    Fail(absl::StrFormat("key %s is not a boolean", FullKey(key)));
  }
  return value.value_or(otherwise);
}

std::string ConfigReader::StringOr(std::string_view key, std::string_view otherwise) {
  const auto value = model_.metadata().String(FullKey(key));
  if (!value && Has(key)) {
    Fail(absl::StrFormat("key %s is not a string", FullKey(key)));
  }
  return value.value_or(std::string(otherwise));
}

void ConfigReader::Fail(std::string_view message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(std::string(message));
  }
}

void ConfigReader::Require(bool condition, std::string_view message) {
  if (!condition) {
    Fail(message);
  }
}

}  // namespace barn
