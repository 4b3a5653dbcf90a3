// Whether two schemas exclude each other.
#include <algorithm>
#include <string>

#include "coordinator/text/grammar/schema_document.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int kDepthMax = 6;

// No object of these parts has the name.
bool Forbids(const SchemaParts& parts, const std::string& name) {
  return std::any_of(parts.begin(), parts.end(), [&](const SchemaPart& part) {
    const Json* additional = part.Find("additionalProperties");
    const Json* properties = part.Find("properties");
    return additional != nullptr && *additional == false && (properties == nullptr || !properties->contains(name));
  });
}

SchemaParts PropertyOf(const SchemaParts& parts, const std::string& name) {
  SchemaParts found;
  for (const SchemaPart& part : parts) {
    const Json* properties = part.Find("properties");
    if (properties == nullptr) continue;
    if (const auto one = properties->find(name); one != properties->end()) {
      found.push_back(part.Child(*one, "properties", name));
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<bool> SchemaDocument::MayAdmit(const SchemaParts& parts, const Json& value) {
  BARN_RETURN_IF_ERROR(Spend(8));
  const TypeBit type = TypeOf(value);
  BARN_ASSIGN_OR_RETURN(const uint8_t types, Types(parts));
  if ((types & type) == 0) return false;
  BARN_ASSIGN_OR_RETURN(const auto values, Enumerated(parts));
  if (values.has_value()) {
    const std::string text = Canonical(value);
    if (std::none_of(values->begin(), values->end(), [&](const Json* one) { return Canonical(*one) == text; }))
      return false;
  }
  if (type == kStringType) {
    BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, Lengths(parts, "minLength", "maxLength"));
    if (!lengths.Contains(LengthOf(value))) return false;
  }
  if (value.is_number()) {
    BARN_ASSIGN_OR_RETURN(const NumberBounds bounds, Numbers(parts));
    absl::StatusOr<Decimal> number = ToDecimal(value);
    if (number.ok() && !bounds.Contains(*number)) return false;
  }
  return true;
}

absl::StatusOr<bool> SchemaDocument::Disjoint(const SchemaPart& a, const SchemaPart& b) {
  return DisjointParts({a}, {b}, 0);
}

absl::StatusOr<bool> SchemaDocument::DisjointParts(const SchemaParts& a, const SchemaParts& b, int depth) {
  if (depth > kDepthMax) return false;
  BARN_ASSIGN_OR_RETURN(const auto flat_a, Flatten(a));
  BARN_ASSIGN_OR_RETURN(const auto flat_b, Flatten(b));
  if (!flat_a.has_value() || !flat_b.has_value()) return true;
  BARN_ASSIGN_OR_RETURN(const uint8_t types_a, Types(*flat_a));
  BARN_ASSIGN_OR_RETURN(const uint8_t types_b, Types(*flat_b));
  BARN_ASSIGN_OR_RETURN(const auto values_a, Enumerated(*flat_a));
  BARN_ASSIGN_OR_RETURN(const auto values_b, Enumerated(*flat_b));
  for (const auto& [values, own, other] :
       {std::tuple(&values_a, &flat_a, &flat_b), std::tuple(&values_b, &flat_b, &flat_a)}) {
    if (!values->has_value()) continue;
    bool shared = false;
    for (const Json* value : **values) {
      BARN_ASSIGN_OR_RETURN(const bool here, MayAdmit(**own, *value));
      if (!here) continue;
      BARN_ASSIGN_OR_RETURN(const bool there, MayAdmit(**other, *value));
      shared = shared || there;
    }
    if (!shared) return true;
  }
  // A choice is apart from the other side when each of its branches is.
  for (const auto& [parts, other] : {std::pair(&*flat_a, &b), std::pair(&*flat_b, &a)}) {
    for (const SchemaPart& part : *parts) {
      for (const std::string_view keyword : {"anyOf", "oneOf"}) {
        const Json* branches = part.Find(keyword);
        if (branches == nullptr) continue;
        bool all = true;
        for (const Json& branch : *branches) {
          BARN_ASSIGN_OR_RETURN(const bool apart, DisjointParts({part.Child(branch, keyword)}, *other, depth + 1));
          all = all && apart;
          if (!all) break;
        }
        if (all) return true;
      }
    }
  }
  for (int bit = 1; bit <= kFractionType; bit <<= 1) {
    if ((types_a & types_b & bit) == 0) continue;
    BARN_ASSIGN_OR_RETURN(const bool apart, DisjointOf(static_cast<uint8_t>(bit), *flat_a, *flat_b, depth));
    if (!apart) return false;
  }
  return true;
}

absl::StatusOr<bool> SchemaDocument::DisjointOf(uint8_t type, const SchemaParts& a, const SchemaParts& b, int depth) {
  switch (type) {
    case kStringType: {
      BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, Lengths(a, "minLength", "maxLength"));
      BARN_ASSIGN_OR_RETURN(const LengthBounds others, Lengths(b, "minLength", "maxLength"));
      return lengths.DisjointFrom(others);
    }
    case kArrayType: {
      BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, Lengths(a, "minItems", "maxItems"));
      BARN_ASSIGN_OR_RETURN(const LengthBounds others, Lengths(b, "minItems", "maxItems"));
      return lengths.DisjointFrom(others);
    }
    case kIntegerType:
    case kFractionType: {
      BARN_ASSIGN_OR_RETURN(const NumberBounds bounds, Numbers(a));
      BARN_ASSIGN_OR_RETURN(const NumberBounds others, Numbers(b));
      return bounds.DisjointFrom(others);
    }
    case kObjectType:
      return DisjointObjects(a, b, depth);
    default:
      return false;
  }
}

absl::StatusOr<bool> SchemaDocument::DisjointObjects(const SchemaParts& a, const SchemaParts& b, int depth) {
  for (const auto& [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const SchemaPart& part : *one) {
      const Json* required = part.Find("required");
      if (required == nullptr) continue;
      BARN_RETURN_IF_ERROR(Spend(static_cast<int64_t>(required->size()) * 4));
      for (const Json& name : *required) {
        const auto& text = name.get_ref<const std::string&>();
        if (Forbids(*other, text)) return true;
        const SchemaParts here = PropertyOf(*one, text), there = PropertyOf(*other, text);
        if (here.empty() || there.empty()) continue;
        BARN_ASSIGN_OR_RETURN(const bool apart, DisjointParts(here, there, depth + 1));
        if (apart) return true;
      }
    }
  }
  return false;
}

}  // namespace barn::grammar
