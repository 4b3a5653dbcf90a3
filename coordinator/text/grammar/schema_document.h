#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "coordinator/text/grammar/number_range.h"

namespace barn::grammar {

using Json = nlohmann::ordered_json;

// A schema that a value must meet, one of several at once.
struct SchemaPart {
  enum Done : uint8_t {
    kExpanded = 1,  // Its $ref and allOf stand beside it already.
    kAnyOf = 2,     // A branch of the keyword stands beside it already.
    kOneOf = 4,
  };

  const Json* schema = nullptr;
  std::string path;  // From the document's root, as "#/properties/a".
  uint8_t done = 0;

  // The keyword's value; null if it is absent.
  const Json* Find(std::string_view keyword) const;
  absl::Status Error(std::string_view keyword, std::string_view what) const;
  SchemaPart Child(const Json& child, std::string_view keyword, std::string_view key = "") const;
};

// All that a value must meet at once; nothing for any value.
using SchemaParts = std::vector<SchemaPart>;

// Kinds of JSON values; numbers are cut in two, since "number" is wider than "integer".
enum TypeBit : uint8_t {
  kNullType = 1,
  kBooleanType = 2,
  kObjectType = 4,
  kArrayType = 8,
  kStringType = 16,
  kIntegerType = 32,
  kFractionType = 64,
  kAllTypes = 127,
};

TypeBit TypeOf(const Json& value);
// One text for equal values, as JSON Schema counts them equal.
std::string Canonical(const Json& value);

// Lengths from min to max, max being kUnbounded if there is no bound.
struct LengthBounds {
  int64_t min = 0;
  int64_t max = -1;
  bool Contains(int64_t length) const { return length >= min && (max < 0 || length <= max); }
  bool DisjointFrom(const LengthBounds& other) const {
    return (max >= 0 && max < other.min) || (other.max >= 0 && other.max < min);
  }
};

// Reads the keywords of one JSON schema document (Draft 2020-12). All errors are InvalidArgument with the JSON path and
// name the keyword; what is neither supported nor a mere annotation is refused. Bounded in work.
class SchemaDocument {
 public:
  explicit SchemaDocument(const Json& root) : root_(root) {}

  SchemaPart root() const { return {.schema = &root_, .path = "#"}; }

  // The parts with $ref and allOf spelled out, without doubles and without `true`. nullopt: a part is `false`.
  absl::StatusOr<std::optional<SchemaParts>> Flatten(const SchemaParts& parts);

  // Of flat parts.
  absl::StatusOr<uint8_t> Types(const SchemaParts& parts);
  // The values that `enum` and `const` leave; nullopt without such a keyword.
  absl::StatusOr<std::optional<std::vector<const Json*>>> Enumerated(const SchemaParts& parts);
  absl::StatusOr<NumberBounds> Numbers(const SchemaParts& parts);
  absl::StatusOr<LengthBounds> Lengths(const SchemaParts& parts, std::string_view min, std::string_view max);

  // Whether it is certain that no value meets both: for oneOf, whose branches must exclude each other.
  absl::StatusOr<bool> Disjoint(const SchemaPart& a, const SchemaPart& b);

  // ResourceExhausted once the schema has cost more than a bound.
  absl::Status Spend(int64_t work);

 private:
  absl::Status Expand(const SchemaPart& part, int depth, SchemaParts& out, bool& never);
  absl::Status CheckKeywords(const SchemaPart& part);
  absl::StatusOr<SchemaPart> Resolve(const SchemaPart& part, const Json& reference);
  absl::StatusOr<bool> DisjointParts(const SchemaParts& a, const SchemaParts& b, int depth);
  absl::StatusOr<bool> DisjointOf(uint8_t type, const SchemaParts& a, const SchemaParts& b, int depth);
  absl::StatusOr<bool> DisjointObjects(const SchemaParts& a, const SchemaParts& b, int depth);
  // False only if it is certain that the value does not meet flat parts.
  absl::StatusOr<bool> MayAdmit(const SchemaParts& parts, const Json& value);

  const Json& root_;
  absl::flat_hash_set<const Json*> checked_;
  std::vector<const Json*> expanding_;
  int64_t work_ = 0;
};

// Code points of a string.
int64_t LengthOf(const Json& text);

}  // namespace barn::grammar
