#include "coordinator/text/grammar/schema_compiler.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/text/grammar/pattern.h"
#include "coordinator/text/grammar/schema_builder.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int kJsonDepthMax = 64;

absl::StatusOr<Json> ParseSchema(std::string_view text) {
  if (WellFormedPrefix(text) != text.size()) return absl::InvalidArgumentError("the schema is not UTF-8");
  bool deep = false;
  // A parser's depth is what its callback sees; a value that is refused there costs no more memory.
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > kJsonDepthMax;
    return !deep;
  };
  Json schema = Json::parse(text, bounded, /*allow_exceptions=*/false);
  if (deep) return absl::InvalidArgumentError(absl::StrCat("the schema nests deeper than ", kJsonDepthMax));
  if (schema.is_discarded()) return absl::InvalidArgumentError("the schema is not JSON");
  return schema;
}

}  // namespace

absl::StatusOr<Node> CompileSchema(std::string_view schema, Rules& rules) {
  BARN_ASSIGN_OR_RETURN(const Json parsed, ParseSchema(schema));
  return SchemaBuilder(parsed, rules).Run();
}

absl::StatusOr<Node> SchemaBuilder::Run() {
  const Node root = Of({document_.root()});
  while (!pending_.empty()) {
    const auto [rule, parts] = std::move(pending_.front());
    pending_.pop_front();
    BARN_ASSIGN_OR_RETURN(const Node body, Body(parts));
    rules_.Define(rule, body);
    BARN_RETURN_IF_ERROR(rules_.status());
  }
  return root;
}

Node SchemaBuilder::Of(const SchemaParts& parts) {
  Key key;
  for (const SchemaPart& part : parts) {
    const bool anything = *part.schema == true || (part.schema->is_object() && part.schema->empty());
    if (!anything) key.emplace_back(part.schema, part.done);
  }
  if (key.empty()) return json_.Value();
  std::sort(key.begin(), key.end());
  const auto [found, added] = known_.try_emplace(std::move(key), 0);
  if (added) {
    found->second = rules_.AddRule(absl::StrCat("the schema at ", parts.front().path));
    rules_.Define(found->second, rules_.Never());
    pending_.emplace_back(found->second, parts);
  }
  return rules_.Reference(found->second);
}

absl::StatusOr<Node> SchemaBuilder::Body(const SchemaParts& parts) {
  BARN_ASSIGN_OR_RETURN(const std::optional<SchemaParts> flat, document_.Flatten(parts));
  if (!flat.has_value()) return rules_.Never();
  for (size_t i = 0; i < flat->size(); ++i) {
    const SchemaPart& part = (*flat)[i];
    if (part.Find("anyOf") != nullptr && (part.done & SchemaPart::kAnyOf) == 0) return Branches(*flat, i, "anyOf");
    if (part.Find("oneOf") != nullptr && (part.done & SchemaPart::kOneOf) == 0) return Branches(*flat, i, "oneOf");
  }
  BARN_ASSIGN_OR_RETURN(const uint8_t types, document_.Types(*flat));
  BARN_ASSIGN_OR_RETURN(const auto values, document_.Enumerated(*flat));
  if (values.has_value()) return Values(*flat, *values, types);
  if (flat->empty()) return json_.Value();
  std::vector<Node> ways;
  if ((types & kNullType) != 0) ways.push_back(rules_.Literal("null"));
  if ((types & kBooleanType) != 0) ways.insert(ways.end(), {rules_.Literal("true"), rules_.Literal("false")});
  if ((types & (kIntegerType | kFractionType)) != 0) {
    BARN_ASSIGN_OR_RETURN(const NumberBounds bounds, document_.Numbers(*flat));
    ways.push_back((types & kFractionType) != 0 ? NumbersWithin(bounds, rules_, json_)
                                                : IntegersWithin(bounds, rules_, json_));
  }
  using Maker = absl::StatusOr<Node> (SchemaBuilder::*)(const SchemaParts&);
  for (const auto& [type, make] : {std::pair<uint8_t, Maker>(kStringType, &SchemaBuilder::Strings),
                                   {kArrayType, &SchemaBuilder::Arrays},
                                   {kObjectType, &SchemaBuilder::Objects}}) {
    if ((types & type) == 0) continue;
    BARN_ASSIGN_OR_RETURN(const Node way, (this->*make)(*flat));
    ways.push_back(way);
  }
  return rules_.Choice(ways);
}

absl::StatusOr<Node> SchemaBuilder::Branches(const SchemaParts& flat, size_t index, std::string_view keyword) {
  const SchemaPart chooser = flat[index];
  const Json& branches = *chooser.Find(keyword);
  if (branches.empty()) return chooser.Error(keyword, "is empty");
  const bool one_only = keyword == "oneOf";
  SchemaParts parts = flat;
  parts[index].done |= one_only ? SchemaPart::kOneOf : SchemaPart::kAnyOf;
  std::vector<SchemaPart> children;
  for (size_t i = 0; i < branches.size(); ++i) {
    children.push_back(chooser.Child(branches[i], keyword, absl::StrCat(i)));
  }
  for (size_t i = 0; one_only && i < children.size(); ++i) {
    for (size_t k = i + 1; k < children.size(); ++k) {
      BARN_ASSIGN_OR_RETURN(const bool apart, document_.Disjoint(children[i], children[k]));
      if (!apart) {
        return chooser.Error(keyword, absl::StrCat("a value might match both branch ", i, " and branch ", k,
                                                   ", which cannot be ruled out here; anyOf can be used instead"));
      }
    }
  }
  std::vector<Node> ways;
  for (const SchemaPart& child : children) {
    BARN_RETURN_IF_ERROR(document_.Spend(static_cast<int64_t>(parts.size())));
    parts.push_back(child);
    ways.push_back(Of(parts));
    parts.pop_back();
  }
  return rules_.Choice(ways);
}

absl::StatusOr<Node> SchemaBuilder::Values(const SchemaParts& flat, const std::vector<const Json*>& values,
                                           uint8_t types) {
  static constexpr std::pair<std::string_view, uint8_t> kNotChecked[] = {
      {"pattern", kStringType},       {"format", kStringType},
      {"properties", kObjectType},    {"additionalProperties", kObjectType},
      {"required", kObjectType},      {"minProperties", kObjectType},
      {"maxProperties", kObjectType}, {"items", kArrayType},
      {"prefixItems", kArrayType},    {"minItems", kArrayType},
      {"maxItems", kArrayType},
  };
  BARN_ASSIGN_OR_RETURN(const NumberBounds bounds, document_.Numbers(flat));
  BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, document_.Lengths(flat, "minLength", "maxLength"));
  std::vector<Node> ways;
  for (const Json* value : values) {
    const TypeBit type = TypeOf(*value);
    if ((types & type) == 0) continue;
    for (const SchemaPart& part : flat) {
      for (const auto& [keyword, concerned] : kNotChecked) {
        if (type == concerned && part.Find(keyword) != nullptr) {
          return part.Error(keyword, "beside enum or const this keyword is not supported");
        }
      }
    }
    if (type == kStringType && !lengths.Contains(LengthOf(*value))) continue;
    if (value->is_number() && !bounds.none()) {
      absl::StatusOr<Decimal> number = ToDecimal(*value);
      if (!number.ok()) return flat.front().Error("enum", std::string(number.status().message()));
      if (!bounds.Contains(*number)) continue;
    }
    ways.push_back(json_.Exactly(*value));
  }
  return rules_.Choice(ways);
}

absl::StatusOr<Node> SchemaBuilder::Strings(const SchemaParts& flat) {
  BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, document_.Lengths(flat, "minLength", "maxLength"));
  const SchemaPart* shaper = nullptr;
  std::string_view shape, shape_keyword;
  for (const SchemaPart& part : flat) {
    for (const std::string_view keyword : {"pattern", "format"}) {
      const Json* value = part.Find(keyword);
      if (value == nullptr) continue;
      if (!value->is_string()) return part.Error(keyword, "must be a string");
      const auto& text = value->get_ref<const std::string&>();
      const std::string_view pattern = keyword == "pattern" ? std::string_view(text) : FormatPattern(text);
      if (keyword == "format" && pattern.empty()) {
        return part.Error(keyword,
                          absl::StrCat("\"", text.substr(0, 40), "\" is not supported (known: ", kFormats, ")"));
      }
      if (shaper != nullptr && pattern == shape) continue;
      if (shaper != nullptr) return part.Error(keyword, "a second pattern or format for one string is not supported");
      shaper = &part;
      shape = pattern;
      shape_keyword = keyword;
    }
  }
  if (shaper == nullptr) {
    if (lengths.min == 0 && lengths.max < 0) return json_.String();
    if (lengths.max >= 0 && lengths.max < lengths.min) return rules_.Never();
    return json_.Quoted(rules_.Repeat(json_.AnyPoint(), lengths.min, lengths.max < 0 ? kUnbounded : lengths.max));
  }
  if (lengths.min > 0 || lengths.max >= 0) {
    return shaper->Error(shape_keyword, "beside minLength or maxLength this keyword is not supported");
  }
  const absl::StatusOr<Node> content = CompilePattern(shape, rules_, json_);
  if (!content.ok()) return shaper->Error(shape_keyword, std::string(content.status().message()));
  return json_.Quoted(*content);
}

absl::StatusOr<Node> SchemaBuilder::Arrays(const SchemaParts& flat) {
  BARN_ASSIGN_OR_RETURN(const LengthBounds lengths, document_.Lengths(flat, "minItems", "maxItems"));
  size_t places = 0;
  for (const SchemaPart& part : flat) {
    if (const Json* prefix = part.Find("prefixItems"); prefix != nullptr) places = std::max(places, prefix->size());
    if (const Json* items = part.Find("items"); items != nullptr && items->is_array()) {
      return part.Error("items", "must be one schema; a schema for each place is written with prefixItems");
    }
  }
  // What all parts say of place `i`; behind the last place they all say the same of every one.
  const auto item = [&](size_t i) {
    SchemaParts parts;
    for (const SchemaPart& part : flat) {
      const Json* prefix = part.Find("prefixItems");
      if (prefix != nullptr && i < prefix->size()) {
        parts.push_back(part.Child((*prefix)[i], "prefixItems", absl::StrCat(i)));
      } else if (const Json* items = part.Find("items"); items != nullptr) {
        parts.push_back(part.Child(*items, "items"));
      }
    }
    const bool never = std::any_of(parts.begin(), parts.end(), [](const SchemaPart& p) { return *p.schema == false; });
    return never ? rules_.Never() : Of(parts);
  };
  const Node next = rules_.Sequence({rules_.Literal(","), json_.Space()});
  const auto count = static_cast<int64_t>(places);
  BARN_RETURN_IF_ERROR(document_.Spend(count * static_cast<int64_t>(flat.size())));
  const int64_t most = lengths.max < 0 ? INT64_MAX : lengths.max;
  if (most < lengths.min) return rules_.Never();
  // From the end: `rest` is what may follow the items before place i.
  const Node more = item(places);
  Node rest = rules_.Empty();
  if (const int64_t least = std::max<int64_t>(0, lengths.min - std::max<int64_t>(count, 1));
      most > std::max<int64_t>(count, 1)) {
    const int64_t bound = lengths.max < 0 ? kUnbounded : most - std::max<int64_t>(count, 1);
    rest = rules_.Repeat(rules_.Sequence({next, more}), least, bound);
  }
  for (int64_t i = std::max<int64_t>(count, 1) - 1; i >= 0; --i) {
    const Node one = i < count ? item(static_cast<size_t>(i)) : more;
    Node here = rules_.Sequence({i > 0 ? next : rules_.Empty(), one, rest});
    if (i == 0) here = rules_.Sequence({here, json_.Space()});
    if (i >= most) here = rules_.Empty();
    rest = i >= lengths.min ? rules_.Optional(here) : here;
  }
  return rules_.Sequence({rules_.Literal("["), json_.Space(), rest, rules_.Literal("]")});
}

}  // namespace barn::grammar
