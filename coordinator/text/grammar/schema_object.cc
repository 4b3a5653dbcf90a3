// Object schemas: which members may stand in what order, and how many.
#include <algorithm>
#include <map>
#include <memory>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/grammar/schema_builder.h"
#include "coordinator/text/jinja/code_points.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr size_t kNamePointsMax = 200;  // Of properties beside which others may stand.
constexpr int64_t kCountStatesMax = 20'000;

// Names by their code points.
struct NameTrie {
  std::map<uint32_t, std::unique_ptr<NameTrie>> next;
  bool ends = false;
};

}  // namespace

absl::Status SchemaBuilder::AddProperty(const SchemaParts& flat, const std::string& name, ObjectPlan& plan) {
  Property property{.name = name, .parts = {}, .required = false, .member = 0};
  bool never = false;
  for (const SchemaPart& part : flat) {
    const Json* properties = part.Find("properties");
    const Json* additional = part.Find("additionalProperties");
    const Json* schema = nullptr;
    if (properties != nullptr && properties->contains(name)) {
      schema = &(*properties)[name];
      property.parts.push_back(part.Child(*schema, "properties", name));
    } else if (additional != nullptr) {
      schema = additional;
      property.parts.push_back(part.Child(*schema, "additionalProperties"));
    }
    never = never || (schema != nullptr && *schema == false);
    if (const Json* required = part.Find("required"); required != nullptr) {
      property.required = property.required || std::find(required->begin(), required->end(), name) != required->end();
    }
  }
  plan.names.push_back(name);
  // A property that may never be there has no member; where it is required no object is left.
  const Node value = never ? rules_.Never() : Of(property.parts);
  property.member = rules_.Sequence({json_.Quoted(json_.Text(name)), rules_.Literal(":"), json_.Space(), value});
  if (!never || property.required) plan.properties.push_back(std::move(property));
  return document_.Spend(static_cast<int64_t>(flat.size()));
}

absl::StatusOr<SchemaBuilder::ObjectPlan> SchemaBuilder::PlanObject(const SchemaParts& flat) {
  ObjectPlan plan;
  BARN_ASSIGN_OR_RETURN(plan.count, document_.Lengths(flat, "minProperties", "maxProperties"));
  absl::flat_hash_set<std::string> seen;
  for (const SchemaPart& part : flat) {
    if (const Json* properties = part.Find("properties"); properties != nullptr) {
      for (const auto& [name, schema] : properties->items()) {
        if (seen.insert(name).second) BARN_RETURN_IF_ERROR(AddProperty(flat, name, plan));
      }
    }
    const Json* additional = part.Find("additionalProperties");
    if (additional == nullptr) continue;
    plan.additional.push_back(part.Child(*additional, "additionalProperties"));
    if (*additional == false) plan.open = false;
  }
  for (const SchemaPart& part : flat) {
    const Json* required = part.Find("required");
    if (required == nullptr) continue;
    for (const Json& name : *required) {
      const auto& text = name.get_ref<const std::string&>();
      if (seen.insert(text).second) BARN_RETURN_IF_ERROR(AddProperty(flat, text, plan));
    }
  }
  if (plan.open && plan.count.min > static_cast<int64_t>(plan.properties.size()) + 1) {
    for (const SchemaPart& part : flat) {
      if (part.Find("minProperties") != nullptr) {
        return part.Error("minProperties", "more than one property of a free name cannot be asked for");
      }
    }
  }
  return plan;
}

absl::StatusOr<Node> SchemaBuilder::OtherNames(const std::vector<std::string>& names) {
  if (names.empty()) return json_.String();
  NameTrie root;
  for (const std::string& name : names) {
    if (jinja::CountCodePoints(name) > kNamePointsMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("the property \"", name.substr(0, 40), "...\" is longer than ", kNamePointsMax, " characters"));
    }
    NameTrie* at = &root;
    for (size_t i = 0; i < name.size();) {
      auto& next = at->next[jinja::NextCodePoint(name, i)];
      if (next == nullptr) next = std::make_unique<NameTrie>();
      at = next.get();
    }
    at->ends = true;
  }
  const Node anything = rules_.Repeat(json_.AnyPoint(), 0, kUnbounded);
  const auto others = [&](const auto& self, const NameTrie& trie) -> Node {
    std::vector<CodePointSet::Range> taken;
    std::vector<Node> ways;
    for (const auto& [point, next] : trie.next) {
      taken.push_back({point, point});
      ways.push_back(rules_.Sequence({json_.Point(CodePointSet::One(point)), self(self, *next)}));
    }
    ways.push_back(rules_.Sequence({json_.Point(CodePointSet(std::move(taken)).Complement()), anything}));
    if (!trie.ends) ways.push_back(rules_.Empty());
    return rules_.Choice(ways);
  };
  return json_.Quoted(others(others, root));
}

absl::StatusOr<Node> SchemaBuilder::Members(const ObjectPlan& plan) {
  const auto size = static_cast<int64_t>(plan.properties.size());
  // Members are counted as far as a bound or a comma depends on it.
  const int64_t counted = std::max<int64_t>({1, plan.count.min, plan.count.max});
  const int64_t counts = std::min(counted, size);
  if ((size + 1) * (counts + 1) > kCountStatesMax) {
    return absl::InvalidArgumentError("minProperties or maxProperties of so many properties is not supported");
  }
  const Node comma = rules_.Sequence({rules_.Literal(","), json_.Space()});
  const auto within = [&](int64_t count) { return plan.count.max < 0 || count <= plan.count.max; };
  // What may follow the properties, when `count` members stand already.
  Node other = rules_.Never();
  if (plan.open) {
    BARN_ASSIGN_OR_RETURN(const Node names, OtherNames(plan.names));
    other = rules_.Sequence({names, rules_.Literal(":"), json_.Space(), Of(plan.additional)});
  }
  const auto tail = [&](int64_t count) {
    const int64_t missing = std::max<int64_t>(0, plan.count.min - count);
    // Names that repeat count once, and nothing here can tell that two free names differ.
    if (!within(count) || missing > 1) return rules_.Never();
    const int64_t room = plan.count.max < 0 ? INT32_MAX : plan.count.max - count;
    if (room < missing) return rules_.Never();
    if (room == 0) return rules_.Empty();
    const Node next = rules_.Sequence({comma, other});
    const auto up_to = [&](int64_t most) { return plan.count.max < 0 ? int64_t{kUnbounded} : most; };
    if (count > 0) return rules_.Repeat(next, missing, up_to(room));
    const Node some = rules_.Sequence({other, rules_.Repeat(next, 0, up_to(room - 1))});
    return missing > 0 ? some : rules_.Optional(some);
  };
  // rest[c]: what may follow the properties before the present one when c members stand, c saturating at `counted`.
  std::vector<Node> rest;
  for (int64_t count = 0; count <= counts; ++count) rest.push_back(tail(count));
  for (int64_t i = size - 1; i >= 0; --i) {
    const Property& property = plan.properties[static_cast<size_t>(i)];
    std::vector<Node> here;
    for (int64_t count = 0; count <= std::min(counts, i); ++count) {
      std::vector<Node> ways;
      if (within(count + 1)) {
        ways.push_back(rules_.Sequence({count > 0 ? comma : rules_.Empty(), property.member,
                                        rest[static_cast<size_t>(std::min(count + 1, counts))]}));
      }
      if (!property.required) ways.push_back(rest[static_cast<size_t>(count)]);
      // A rule of its own, since several ways lead here.
      const int32_t rule = rules_.AddRule(absl::StrCat("the members from \"", property.name.substr(0, 40), "\" on"));
      rules_.Define(rule, rules_.Choice(ways));
      here.push_back(rules_.IsNever(rules_.rule(rule).body) ? rules_.Never() : rules_.Reference(rule));
      BARN_RETURN_IF_ERROR(rules_.status());
    }
    rest = std::move(here);
    rest.resize(static_cast<size_t>(counts) + 1, rest.back());
  }
  return rest[0];
}

absl::StatusOr<Node> SchemaBuilder::Objects(const SchemaParts& flat) {
  BARN_ASSIGN_OR_RETURN(const ObjectPlan plan, PlanObject(flat));
  absl::StatusOr<Node> members = Members(plan);
  if (!members.ok()) return flat.front().Error("properties", std::string(members.status().message()));
  return rules_.Sequence({rules_.Literal("{"), json_.Space(), *members, json_.Space(), rules_.Literal("}")});
}

}  // namespace barn::grammar
