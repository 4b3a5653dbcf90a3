#include "tests/coordinator/text/grammar/random_schema.h"

#include <utility>
#include <vector>

namespace barn::grammar {

nlohmann::ordered_json RandomSchema::Make() {
  recursive_ = Chance(25);
  Json schema = Any(3);
  if (!recursive_) return schema;
  // A node always has a way to end: its children may be none.
  Json node = {{"type", "object"},
               {"properties",
                {{"v", Any(1)}, {"c", {{"type", "array"}, {"items", {{"$ref", "#/$defs/node"}}}, {"maxItems", 2}}}}},
               {"required", {"v", "c"}},
               {"additionalProperties", false}};
  return {{"type", "object"},
          {"properties", {{"x", std::move(schema)}, {"tree", {{"$ref", "#/$defs/node"}}}}},
          {"required", {"tree"}},
          {"additionalProperties", false},
          {"$defs", {{"node", std::move(node)}}}};
}

nlohmann::ordered_json RandomSchema::Any(int depth) {
  switch (Int(0, depth > 0 ? 10 : 5)) {
    case 0:
    case 1:
      return String();
    case 2:
      return Number(true);
    case 3:
      return Number(false);
    case 4:
      return Chance(50) ? Json{{"type", "boolean"}} : Json{{"type", Json::array({"null", "string"})}};
    case 5:
      return Constant();
    case 6:
    case 7:
      return Array(depth);
    case 8:
    case 9:
      return Object(depth);
    default:
      return Choice(depth);
  }
}

nlohmann::ordered_json RandomSchema::String() {
  static const std::vector<std::string> kPatterns = {"^[a-z]+$",
                                                     "^(yes|no)$",
                                                     "^a?b*c+$",
                                                     "^#[0-9a-f]{6}$",
                                                     "^(ab){2,3}$",
                                                     "[0-9]{3}",
                                                     "^x",
                                                     "y$|^z",
                                                     "^[^a-f][^a]*$",
                                                     "^\\d+(\\.\\d{1,2})?$",
                                                     "^\\w{1,8}$",
                                                     "^(a|b(c|d)*)+e$",
                                                     "^[\\x41-\\x43]{1,3}$",
                                                     "^\"q\\\\$",
                                                     "^(?:one|two)? ?three$"};
  static const std::vector<std::string> kFormats = {"date", "time", "date-time", "uuid", "email", "ipv4"};
  Json schema = {{"type", "string"}};
  const int kind = Int(0, 9);
  if (kind < 3) {
    schema["minLength"] = Int(0, 5);
    if (Chance(70)) schema["maxLength"] = schema["minLength"].get<int>() + Int(0, 40);
  } else if (kind < 5) {
    schema["pattern"] = kPatterns[Int(0, static_cast<int>(kPatterns.size()) - 1)];
  } else if (kind < 7) {
    schema["format"] = kFormats[Int(0, static_cast<int>(kFormats.size()) - 1)];
  }
  return schema;
}

nlohmann::ordered_json RandomSchema::Number(bool integer) {
  Json schema = {{"type", integer ? "integer" : "number"}};
  const auto value = [&] {
    static constexpr int kSizes[] = {3, 12, 130, 2500, 1'000'000};
    const int number = Int(-kSizes[Int(0, 4)], kSizes[Int(0, 4)]);
    return integer && Chance(85) ? Json(number) : Json(number / 8.0);
  };
  const Json a = value(), b = value();
  const bool swap = a.get<double>() > b.get<double>();
  if (Chance(60)) schema[Chance(70) ? "minimum" : "exclusiveMinimum"] = swap ? b : a;
  if (Chance(60)) schema[Chance(70) ? "maximum" : "exclusiveMaximum"] = swap ? a : b;
  return schema;
}

nlohmann::ordered_json RandomSchema::Constant() {
  static const std::vector<Json> kValues = {"red", "Größe",         "x\"y", "tab\t",      1,  -3.5,
                                            true,  nullptr,         "日本", "a/b\\c\n",   42, 1.0,
                                            false, {{"a", {1, 2}}}, "🗼",    Json::array()};
  const auto pick = [&] { return kValues[Int(0, static_cast<int>(kValues.size()) - 1)]; };
  if (Chance(40)) return {{"const", pick()}};
  Json list = Json::array();
  for (int i = Int(1, 6); i > 0; --i) list.push_back(pick());
  return {{"enum", std::move(list)}};
}

nlohmann::ordered_json RandomSchema::Array(int depth) {
  Json schema = {{"type", "array"}};
  if (Chance(90)) schema["items"] = Chance(8) ? Json(false) : Any(depth - 1);
  if (Chance(30)) {
    schema["prefixItems"] = Json::array();
    for (int i = Int(1, 3); i > 0; --i) schema["prefixItems"].push_back(Any(depth - 1));
  }
  const int min = Int(0, 3);
  if (Chance(50)) schema["minItems"] = min;
  if (Chance(60)) schema["maxItems"] = min + Int(0, 12);
  return schema;
}

std::string RandomSchema::Name() {
  static const std::vector<std::string> kNames = {"a",   "b",          "ab", "abc", "id", "名前",
                                                  "q\"", "first name", "é",  "",    "x/y"};
  return kNames[Int(0, static_cast<int>(kNames.size()) - 1)];
}

nlohmann::ordered_json RandomSchema::Object(int depth) {
  Json schema = {{"type", "object"}, {"properties", Json::object()}};
  Json required = Json::array();
  for (int i = Int(0, 5); i > 0; --i) {
    const std::string name = Name();
    if (schema["properties"].contains(name)) continue;
    schema["properties"][name] = Any(depth - 1);
    if (Chance(50)) required.push_back(name);
  }
  const auto least = static_cast<int>(required.size());
  if (!required.empty()) schema["required"] = std::move(required);
  const int kind = Int(0, 3);
  if (kind <= 1) schema["additionalProperties"] = false;
  if (kind == 2) schema["additionalProperties"] = Any(0);
  if (Chance(20)) schema["maxProperties"] = least + Int(0, 3);
  if (Chance(20)) schema["minProperties"] = Int(0, 2);
  return schema;
}

nlohmann::ordered_json RandomSchema::Choice(int depth) {
  if (Chance(30)) return {{"allOf", {Number(Chance(50)), {{"type", "number"}, {"minimum", -50}}, {{"maximum", 5000}}}}};
  if (Chance(40)) {
    Json tagged = Json::array();
    for (const char* tag : {"x", "y", "z"}) {
      tagged.push_back(
          {{"type", "object"}, {"properties", {{"t", {{"const", tag}}}, {"v", Any(depth - 1)}}}, {"required", {"t"}}});
    }
    return {{"oneOf", std::move(tagged)}};
  }
  Json ways = Json::array();
  for (int i = Int(1, 3); i > 0; --i) ways.push_back(Any(depth - 1));
  return {{Chance(75) ? "anyOf" : "oneOf", std::move(ways)}};
}

}  // namespace barn::grammar
