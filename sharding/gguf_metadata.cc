#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

#include "sharding/gguf.h"

namespace barn {
namespace {

template <class T>
concept Number = std::same_as<T, int64_t> || std::same_as<T, uint64_t> || std::same_as<T, double>;

template <class T>
struct ElementOf {
  using type = void;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
};

// Nullopt where the value has no exact int64.
template <Number T>
std::optional<int64_t> ToInt(T value) {
  if constexpr (std::same_as<T, int64_t>) {
    return value;
  } else if constexpr (std::same_as<T, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(value);
  } else {
    // 2^63 has an exact double; a NaN fails the comparison.
    if (!(std::fabs(value) < 9223372036854775808.0) || std::trunc(value) != value) return std::nullopt;
    return static_cast<int64_t>(value);
  }
}

// The value or array as a vector of T, each element through `convert`; nullopt when one does not convert.
template <class T, class Convert>
std::optional<std::vector<T>> ToVector(const GgufValue* value, Convert convert) {
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [&]<class V>(const V& held) -> std::optional<std::vector<T>> {
        std::vector<T> out;
        if constexpr (Number<V>) {
          const std::optional<T> element = convert(held);
          if (!element) return std::nullopt;
          out.push_back(*element);
          return out;
        } else if constexpr (Number<typename ElementOf<V>::type>) {
          out.reserve(held.size());
          for (const auto& number : held) {
            const std::optional<T> element = convert(number);
            if (!element) return std::nullopt;
            out.push_back(*element);
          }
          return out;
        } else {
          return std::nullopt;
        }
      },
      *value);
}

}  // namespace

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

std::optional<std::string> GgufMetadata::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr || !std::holds_alternative<std::string>(*value)) return std::nullopt;
  return std::get<std::string>(*value);
}

std::optional<int64_t> GgufMetadata::Int(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return std::visit(
      []<class V>(const V& held) -> std::optional<int64_t> {
        if constexpr (Number<V>) {
          return ToInt(held);
        } else {
          return std::nullopt;
        }
      },
      *value);
}

std::optional<double> GgufMetadata::Float(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return std::visit(
      []<class V>(const V& held) -> std::optional<double> {
        if constexpr (Number<V>) {
          return static_cast<double>(held);
        } else {
          return std::nullopt;
        }
      },
      *value);
}

std::optional<bool> GgufMetadata::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr || !std::holds_alternative<bool>(*value)) return std::nullopt;
  return std::get<bool>(*value);
}

std::optional<std::vector<int64_t>> GgufMetadata::Ints(std::string_view key) const {
  return ToVector<int64_t>(Find(key), [](auto number) { return ToInt(number); });
}

std::optional<std::vector<double>> GgufMetadata::Floats(std::string_view key) const {
  return ToVector<double>(Find(key), [](auto number) { return std::optional<double>(static_cast<double>(number)); });
}

std::optional<std::vector<bool>> GgufMetadata::Bools(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const bool* single = std::get_if<bool>(value)) return std::vector<bool>{*single};
  const auto* array = std::get_if<std::vector<bool>>(value);
  if (array == nullptr) return std::nullopt;
  return *array;
}

const std::vector<std::string>* GgufMetadata::Strings(std::string_view key) const {
  const GgufValue* value = Find(key);
  return value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
}

}  // namespace barn
