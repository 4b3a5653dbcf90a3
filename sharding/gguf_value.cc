#include "sharding/gguf_value.h"

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// Value type ids of the GGUF specification.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

constexpr int64_t kStringBytesMax = int64_t{64} << 20;

// What a stored number widens to.
template <class T>
using Wide =
    std::conditional_t<std::is_floating_point_v<T>, double, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

absl::StatusOr<bool> ReadBool(GgufCursor& cursor, const std::string& label) {
  const int64_t at = cursor.offset();
  BARN_ASSIGN_OR_RETURN(const uint8_t byte, cursor.ReadNumber<uint8_t>(label));
  if (byte > 1) return cursor.Invalid(label, at, absl::StrFormat("boolean is %d, not 0 or 1", byte));
  return byte == 1;
}

template <class T>
absl::StatusOr<GgufValue> ReadScalar(GgufCursor& cursor, const std::string& label) {
  BARN_ASSIGN_OR_RETURN(const T number, cursor.ReadNumber<T>(label));
  return GgufValue(static_cast<Wide<T>>(number));
}

template <class T>
absl::StatusOr<GgufValue> ReadNumbers(GgufCursor& cursor, const std::string& label, size_t count) {
  std::vector<Wide<T>> numbers;
  numbers.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    BARN_ASSIGN_OR_RETURN(const T number, cursor.ReadNumber<T>(label));
    numbers.push_back(static_cast<Wide<T>>(number));
  }
  return GgufValue(std::move(numbers));
}

absl::StatusOr<GgufValue> ReadBools(GgufCursor& cursor, const std::string& label, size_t count) {
  std::vector<bool> bools;
  bools.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    BARN_ASSIGN_OR_RETURN(const bool element, ReadBool(cursor, label));
    bools.push_back(element);
  }
  return GgufValue(std::move(bools));
}

absl::StatusOr<GgufValue> ReadStrings(GgufCursor& cursor, const std::string& label, size_t count) {
  std::vector<std::string> strings;
  strings.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    BARN_ASSIGN_OR_RETURN(std::string element, cursor.ReadString(kStringBytesMax, label));
    strings.push_back(std::move(element));
  }
  return GgufValue(std::move(strings));
}

// Bytes that one element takes in the file at least; 0 for a type that cannot be an element.
int64_t ElementBytesMin(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
    case kString:  // The length.
      return 8;
    default:
      return 0;
  }
}

absl::StatusOr<GgufValue> ReadElements(GgufCursor& cursor, const std::string& label, uint32_t type, size_t count) {
  switch (type) {
    case kUint8:
      return ReadNumbers<uint8_t>(cursor, label, count);
    case kInt8:
      return ReadNumbers<int8_t>(cursor, label, count);
    case kUint16:
      return ReadNumbers<uint16_t>(cursor, label, count);
    case kInt16:
      return ReadNumbers<int16_t>(cursor, label, count);
    case kUint32:
      return ReadNumbers<uint32_t>(cursor, label, count);
    case kInt32:
      return ReadNumbers<int32_t>(cursor, label, count);
    case kFloat32:
      return ReadNumbers<float>(cursor, label, count);
    case kBool:
      return ReadBools(cursor, label, count);
    case kString:
      return ReadStrings(cursor, label, count);
    case kUint64:
      return ReadNumbers<uint64_t>(cursor, label, count);
    case kInt64:
      return ReadNumbers<int64_t>(cursor, label, count);
    default:
      return ReadNumbers<double>(cursor, label, count);
  }
}

absl::StatusOr<GgufValue> ReadArray(GgufCursor& cursor, const std::string& label, int64_t& array_elements) {
  const int64_t type_at = cursor.offset();
  const std::string type_field = label + " element type";
  BARN_ASSIGN_OR_RETURN(const uint32_t type, cursor.ReadNumber<uint32_t>(type_field));
  if (type == kArray) return cursor.Invalid(type_field, type_at, "arrays of arrays are not supported");
  const int64_t bytes_min = ElementBytesMin(type);
  if (bytes_min == 0) return cursor.Invalid(type_field, type_at, absl::StrFormat("%d is not a known value type", type));
  const int64_t count_at = cursor.offset();
  const std::string count_field = label + " array length";
  BARN_ASSIGN_OR_RETURN(const uint64_t count, cursor.ReadNumber<uint64_t>(count_field));
  if (count > static_cast<uint64_t>(cursor.remaining_bytes() / bytes_min)) {
    return cursor.Truncated(count_field, count_at,
                            absl::StrFormat("%d elements of at least %d bytes, but %d bytes remain", count, bytes_min,
                                            cursor.remaining_bytes()));
  }
  if (static_cast<int64_t>(count) > kGgufArrayElementsMax - array_elements) {
    return cursor.Invalid(count_field, count_at,
                          absl::StrFormat("%d elements make more than %d in this file", count, kGgufArrayElementsMax));
  }
  array_elements += static_cast<int64_t>(count);
  return ReadElements(cursor, label, type, static_cast<size_t>(count));
}

}  // namespace

absl::StatusOr<GgufValue> ReadGgufValue(GgufCursor& cursor, const std::string& label, int64_t& array_elements) {
  const int64_t at = cursor.offset();
  const std::string type_field = label + " type";
  BARN_ASSIGN_OR_RETURN(const uint32_t type, cursor.ReadNumber<uint32_t>(type_field));
  switch (type) {
    case kUint8:
      return ReadScalar<uint8_t>(cursor, label);
    case kInt8:
      return ReadScalar<int8_t>(cursor, label);
    case kUint16:
      return ReadScalar<uint16_t>(cursor, label);
    case kInt16:
      return ReadScalar<int16_t>(cursor, label);
    case kUint32:
      return ReadScalar<uint32_t>(cursor, label);
    case kInt32:
      return ReadScalar<int32_t>(cursor, label);
    case kFloat32:
      return ReadScalar<float>(cursor, label);
    case kBool: {
      BARN_ASSIGN_OR_RETURN(const bool value, ReadBool(cursor, label));
      return GgufValue(value);
    }
    case kString: {
      BARN_ASSIGN_OR_RETURN(std::string text, cursor.ReadString(kStringBytesMax, label));
      return GgufValue(std::move(text));
    }
    case kArray:
      return ReadArray(cursor, label, array_elements);
    case kUint64:
      return ReadScalar<uint64_t>(cursor, label);
    case kInt64:
      return ReadScalar<int64_t>(cursor, label);
    case kFloat64:
      return ReadScalar<double>(cursor, label);
    default:
      return cursor.Invalid(type_field, at, absl::StrFormat("%d is not a known value type", type));
  }
}

}  // namespace barn
