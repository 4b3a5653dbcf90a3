#include "coordinator/text/grammar/schema_document.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "coordinator/text/grammar/rules.h"
#include "coordinator/text/jinja/code_points.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int64_t kWorkMax = 2'000'000;
constexpr int kExpansionsMax = 200;  // $ref and allOf inside of each other.
constexpr size_t kPathBytesMax = 300;

constexpr std::string_view kKnown[] = {
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    // Annotations: they allow and forbid nothing.
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "contentEncoding",
    "contentMediaType",
};

std::string Shortened(std::string_view path) {
  if (path.size() <= kPathBytesMax) return std::string(path);
  return absl::StrCat(std::string(path.substr(0, kPathBytesMax)), "...");
}

// A whole number that may be spelled with a fraction of zeros.
std::optional<int64_t> WholeNumber(const Json& value) {
  if (value.is_number_unsigned()) return static_cast<int64_t>(std::min<uint64_t>(value.get<uint64_t>(), INT64_MAX));
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (!(number >= 0 && number < 1e15) || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

nlohmann::json Sorted(const Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) < 1e15 && number == std::floor(number)) return static_cast<int64_t>(number);
  }
  nlohmann::json out = value;
  if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) out[i] = Sorted(value[i]);
  } else if (value.is_object()) {
    for (const auto& [name, member] : value.items()) out[name] = Sorted(member);
  }
  return out;
}

}  // namespace

const Json* SchemaPart::Find(std::string_view keyword) const {
  if (!schema->is_object()) return nullptr;
  const auto found = schema->find(std::string(keyword));
  return found == schema->end() ? nullptr : &*found;
}

absl::Status SchemaPart::Error(std::string_view keyword, std::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(Shortened(path), "/", Shortened(keyword), ": ", std::string(what)));
}

SchemaPart SchemaPart::Child(const Json& child, std::string_view keyword, std::string_view key) const {
  std::string name = Shortened(path.substr(0, kPathBytesMax + 1));
  absl::StrAppend(&name, "/", std::string(keyword));
  if (!key.empty()) {
    absl::StrAppend(&name, "/", absl::StrReplaceAll(Shortened(key), {{"~", "~0"}, {"/", "~1"}}));
  }
  return {.schema = &child, .path = std::move(name), .done = 0};
}

TypeBit TypeOf(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return kNullType;
    case Json::value_t::boolean:
      return kBooleanType;
    case Json::value_t::object:
      return kObjectType;
    case Json::value_t::array:
      return kArrayType;
    case Json::value_t::string:
      return kStringType;
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      return number == std::floor(number) ? kIntegerType : kFractionType;
    }
    default:
      return kIntegerType;
  }
}

std::string Canonical(const Json& value) { return Sorted(value).dump(); }

int64_t LengthOf(const Json& text) {
  return static_cast<int64_t>(jinja::CountCodePoints(text.get_ref<const std::string&>()));
}

absl::Status SchemaDocument::Spend(int64_t work) {
  work_ += work;
  if (work_ <= kWorkMax) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the schema multiplies out to more than this server compiles (anyOf, allOf or enum inside of each other)");
}

absl::Status SchemaDocument::CheckKeywords(const SchemaPart& part) {
  if (!checked_.insert(part.schema).second) return absl::OkStatus();
  for (const auto& [name, value] : part.schema->items()) {
    if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown) || name.starts_with("x-")) continue;
    if (name == "uniqueItems" && value == false) continue;
    if (name == "nullable" && value == false) continue;
    return part.Error(name, "this keyword is not supported");
  }
  for (const auto& [keyword, want_object] :
       {std::pair("properties", true), std::pair("required", false), std::pair("enum", false),
        std::pair("prefixItems", false), std::pair("anyOf", false), std::pair("oneOf", false),
        std::pair("allOf", false)}) {
    const Json* value = part.Find(keyword);
    if (value == nullptr) continue;
    if (want_object ? !value->is_object() : !value->is_array()) {
      return part.Error(keyword, want_object ? "must be an object" : "must be a list");
    }
  }
  if (const Json* required = part.Find("required"); required != nullptr) {
    for (const Json& name : *required) {
      if (!name.is_string()) return part.Error("required", "must be a list of names");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SchemaPart> SchemaDocument::Resolve(const SchemaPart& part, const Json& reference) {
  if (!reference.is_string()) return part.Error("$ref", "must be a string");
  const auto& text = reference.get_ref<const std::string&>();
  if (text.empty() || text[0] != '#' || (text.size() > 1 && text[1] != '/')) {
    return part.Error("$ref", absl::StrCat("\"", Shortened(text), "\" does not lead into this schema (\"#/...\")"));
  }
  const Json* at = &root_;
  for (size_t begin = 1; begin < text.size();) {
    const size_t end = std::min(text.find('/', begin + 1), text.size());
    const std::string key =
        absl::StrReplaceAll(text.substr(begin + 1, end - begin - 1), {{"~1", "/"}, {"~0", "~"}, {"%24", "$"}});
    size_t index = 0;
    const Json* next = nullptr;
    if (at->is_object()) {
      const auto found = at->find(key);
      if (found != at->end()) next = &*found;
    } else if (at->is_array() && absl::SimpleAtoi(key, &index) && index < at->size()) {
      next = &(*at)[index];
    }
    if (next == nullptr) return part.Error("$ref", absl::StrCat("there is nothing at \"", Shortened(text), "\""));
    at = next;
    begin = end;
  }
  return SchemaPart{.schema = at, .path = Shortened(text), .done = 0};
}

absl::Status SchemaDocument::Expand(const SchemaPart& part, int depth, SchemaParts& out, bool& never) {
  BARN_RETURN_IF_ERROR(Spend(1 + static_cast<int64_t>(out.size())));
  if (part.schema->is_boolean()) {
    never = never || !part.schema->get<bool>();
    return absl::OkStatus();
  }
  if (!part.schema->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shortened(part.path), ": a schema must be an object, true or false"));
  }
  BARN_RETURN_IF_ERROR(CheckKeywords(part));
  SchemaPart expanded = part;
  expanded.done |= SchemaPart::kExpanded;
  const auto same = [&](const SchemaPart& other) { return other.schema == part.schema && other.done == expanded.done; };
  if ((part.done & SchemaPart::kExpanded) == 0) {
    if (std::find(expanding_.begin(), expanding_.end(), part.schema) != expanding_.end()) {
      return part.Error("$ref", "the schema refers back to itself without anything between");
    }
    if (depth > kExpansionsMax) {
      return part.Error("$ref", absl::StrCat("more than ", kExpansionsMax, " references inside of each other"));
    }
    expanding_.push_back(part.schema);
    if (const Json* reference = part.Find("$ref"); reference != nullptr) {
      BARN_ASSIGN_OR_RETURN(const SchemaPart target, Resolve(part, *reference));
      BARN_RETURN_IF_ERROR(Expand(target, depth + 1, out, never));
    }
    if (const Json* all = part.Find("allOf"); all != nullptr) {
      for (size_t i = 0; i < all->size(); ++i) {
        BARN_RETURN_IF_ERROR(Expand(part.Child((*all)[i], "allOf", absl::StrCat(i)), depth + 1, out, never));
      }
    }
    expanding_.pop_back();
  }
  if (std::none_of(out.begin(), out.end(), same)) out.push_back(std::move(expanded));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SchemaParts>> SchemaDocument::Flatten(const SchemaParts& parts) {
  SchemaParts flat;
  bool never = false;
  expanding_.clear();
  for (const SchemaPart& part : parts) BARN_RETURN_IF_ERROR(Expand(part, 0, flat, never));
  if (never) return std::optional<SchemaParts>();
  return std::optional(std::move(flat));
}

absl::StatusOr<uint8_t> SchemaDocument::Types(const SchemaParts& parts) {
  static constexpr std::pair<std::string_view, uint8_t> kTypes[] = {
      {"null", kNullType},
      {"boolean", kBooleanType},
      {"object", kObjectType},
      {"array", kArrayType},
      {"string", kStringType},
      {"integer", kIntegerType},
      {"number", kIntegerType | kFractionType},
  };
  uint8_t types = kAllTypes;
  for (const SchemaPart& part : parts) {
    const Json* value = part.Find("type");
    if (value == nullptr) continue;
    uint8_t named = 0;
    const Json list = value->is_array() ? *value : Json::array({*value});
    for (const Json& name : list) {
      uint8_t bits = 0;
      for (const auto& [known, type] : kTypes) {
        if (name == known) bits = type;
      }
      if (bits == 0) return part.Error("type", absl::StrCat(Shortened(name.dump()), " is no type"));
      named |= bits;
    }
    types &= named;
  }
  return types;
}

absl::StatusOr<std::optional<std::vector<const Json*>>> SchemaDocument::Enumerated(const SchemaParts& parts) {
  std::optional<std::vector<const Json*>> left;
  for (const SchemaPart& part : parts) {
    for (const std::string_view keyword : {"enum", "const"}) {
      const Json* value = part.Find(keyword);
      if (value == nullptr) continue;
      std::vector<const Json*> named;
      if (keyword == "const")
        named.push_back(value);
      else
        for (const Json& one : *value) named.push_back(&one);
      BARN_RETURN_IF_ERROR(Spend(static_cast<int64_t>(4 * named.size())));
      if (!left.has_value()) {
        left = std::move(named);
        continue;
      }
      BARN_RETURN_IF_ERROR(Spend(static_cast<int64_t>(4 * (named.size() + left->size()))));
      absl::flat_hash_set<std::string> texts;
      for (const Json* one : named) texts.insert(Canonical(*one));
      std::erase_if(*left, [&](const Json* one) { return !texts.contains(Canonical(*one)); });
    }
  }
  return left;
}

absl::StatusOr<NumberBounds> SchemaDocument::Numbers(const SchemaParts& parts) {
  NumberBounds bounds;
  for (const SchemaPart& part : parts) {
    for (const std::string_view keyword : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      const Json* value = part.Find(keyword);
      if (value == nullptr) continue;
      if (!value->is_number()) return part.Error(keyword, "must be a number");
      absl::StatusOr<Decimal> number = ToDecimal(*value);
      if (!number.ok()) return part.Error(keyword, std::string(number.status().message()));
      const NumberBounds::End end{.value = *std::move(number), .exclusive = keyword.starts_with("exclusive")};
      keyword.ends_with("inimum") ? bounds.RaiseLow(end) : bounds.LowerHigh(end);
    }
  }
  return bounds;
}

absl::StatusOr<LengthBounds> SchemaDocument::Lengths(const SchemaParts& parts, std::string_view min,
                                                     std::string_view max) {
  LengthBounds bounds;
  for (const SchemaPart& part : parts) {
    for (const std::string_view keyword : {min, max}) {
      const Json* value = part.Find(keyword);
      if (value == nullptr) continue;
      const std::optional<int64_t> number = WholeNumber(*value);
      if (!number.has_value()) return part.Error(keyword, "must be a whole number");
      if (keyword == min) {
        if (*number > kRepeatMax) return part.Error(keyword, absl::StrCat("is above ", kRepeatMax));
        bounds.min = std::max(bounds.min, *number);
      } else {
        const int64_t bound = std::min(*number, kRepeatMax);
        bounds.max = bounds.max < 0 ? bound : std::min(bounds.max, bound);
      }
    }
  }
  return bounds;
}

}  // namespace barn::grammar
