#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/json_text.h"
#include "coordinator/text/grammar/rules.h"
#include "coordinator/text/grammar/schema_document.h"

namespace barn::grammar {

// Builds the expressions of one schema document: a rule for each combination of schemas that a value must meet at once,
// made when it is first needed, so that recursive schemas come to an end.
class SchemaBuilder {
 public:
  SchemaBuilder(const Json& root, Rules& rules) : document_(root), rules_(rules), json_(rules) {}

  absl::StatusOr<Node> Run();

 private:
  // The values that meet all parts.
  Node Of(const SchemaParts& parts);
  absl::StatusOr<Node> Body(const SchemaParts& parts);
  absl::StatusOr<Node> Branches(const SchemaParts& flat, size_t index, std::string_view keyword);
  absl::StatusOr<Node> Values(const SchemaParts& flat, const std::vector<const Json*>& values, uint8_t types);
  absl::StatusOr<Node> Strings(const SchemaParts& flat);
  absl::StatusOr<Node> Arrays(const SchemaParts& flat);
  absl::StatusOr<Node> Objects(const SchemaParts& flat);

  // The parts of an object schema, merged.
  struct Property {
    std::string name;
    SchemaParts parts;
    bool required = false;
    Node member = 0;  // "name": value.
  };
  struct ObjectPlan {
    std::vector<Property> properties;
    std::vector<std::string> names;  // Of all properties, also those that may not be there.
    bool open = true;                // Other names may follow.
    SchemaParts additional;
    LengthBounds count;
  };
  absl::StatusOr<ObjectPlan> PlanObject(const SchemaParts& flat);
  absl::Status AddProperty(const SchemaParts& flat, const std::string& name, ObjectPlan& plan);
  absl::StatusOr<Node> Members(const ObjectPlan& plan);
  // Strings, quoted, that are none of the names.
  absl::StatusOr<Node> OtherNames(const std::vector<std::string>& names);

  SchemaDocument document_;
  Rules& rules_;
  JsonText json_;
  using Key = std::vector<std::pair<const Json*, uint8_t>>;
  std::map<Key, int32_t> known_;
  std::deque<std::pair<int32_t, SchemaParts>> pending_;  // Rules whose bodies are still to be made.
};

}  // namespace barn::grammar
