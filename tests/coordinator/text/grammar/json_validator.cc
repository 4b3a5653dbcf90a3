#include "tests/coordinator/text/grammar/json_validator.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "absl/strings/str_cat.h"

namespace barn::grammar {
namespace {

using Json = nlohmann::ordered_json;

bool Equal(const Json& a, const Json& b) { return nlohmann::json(a) == nlohmann::json(b); }

bool IsType(const Json& value, const std::string& type) {
  if (type == "number") return value.is_number();
  if (type == "integer") {
    return value.is_number_integer() || (value.is_number() && std::floor(value.get<double>()) == value.get<double>());
  }
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  return type == "null" && value.is_null();
}

int64_t Length(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

bool IsDate(const std::string& text) {
  static const std::regex kForm("\\d{4}-\\d{2}-\\d{2}");
  if (!std::regex_match(text, kForm)) return false;
  const int year = std::stoi(text.substr(0, 4)), month = std::stoi(text.substr(5, 2)), day = std::stoi(text.substr(8));
  if (year < 1 || month < 1 || month > 12 || day < 1) return false;
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day <= kDays[month - 1] + (month == 2 && leap ? 1 : 0);
}

bool IsTime(const std::string& text) {
  static const std::regex kForm("(\\d{2}):(\\d{2}):(\\d{2})(\\.\\d+)?(Z|[+-](\\d{2}):(\\d{2}))");
  std::smatch m;
  if (!std::regex_match(text, m, kForm)) return false;
  const bool offset = !m[6].matched || (std::stoi(m[6]) < 24 && std::stoi(m[7]) < 60);
  return std::stoi(m[1]) < 24 && std::stoi(m[2]) < 60 && std::stoi(m[3]) < 60 && offset;
}

bool IsIpv4(const std::string& text) {
  static const std::regex kForm("(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})");
  std::smatch m;
  if (!std::regex_match(text, m, kForm)) return false;
  for (int i = 1; i <= 4; ++i) {
    const std::string part = m[i];
    if (std::stoi(part) > 255 || (part.size() > 1 && part[0] == '0')) return false;
  }
  return true;
}

bool IsFormat(const std::string& text, const std::string& format) {
  static const std::regex kUuid("[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}");
  if (format == "date") return IsDate(text);
  if (format == "time") return IsTime(text);
  if (format == "date-time")
    return text.size() > 11 && IsDate(text.substr(0, 10)) && text[10] == 'T' && IsTime(text.substr(11));
  if (format == "uuid") return std::regex_match(text, kUuid);
  if (format == "ipv4") return IsIpv4(text);
  return format == "email" && text.find('@') != std::string::npos;
}

std::string InvalidText(const Json& schema, const std::string& text) {
  if (schema.contains("minLength") && Length(text) < schema["minLength"].get<int64_t>()) return "minLength";
  if (schema.contains("maxLength") && Length(text) > schema["maxLength"].get<int64_t>()) return "maxLength";
  if (schema.contains("pattern") && !std::regex_search(text, std::regex(schema["pattern"].get<std::string>())))
    return "pattern";
  if (schema.contains("format") && !IsFormat(text, schema["format"])) return "format";
  return "";
}

std::string InvalidNumber(const Json& schema, double number) {
  if (schema.contains("minimum") && number < schema["minimum"].get<double>()) return "minimum";
  if (schema.contains("maximum") && number > schema["maximum"].get<double>()) return "maximum";
  if (schema.contains("exclusiveMinimum") && number <= schema["exclusiveMinimum"].get<double>())
    return "exclusiveMinimum";
  if (schema.contains("exclusiveMaximum") && number >= schema["exclusiveMaximum"].get<double>())
    return "exclusiveMaximum";
  return "";
}

std::string InvalidArray(const Json& root, const Json& schema, const Json& value, int depth) {
  if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>()) return "minItems";
  if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<size_t>()) return "maxItems";
  const size_t prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
  for (size_t i = 0; i < value.size(); ++i) {
    if (i >= prefix && !schema.contains("items")) continue;
    const std::string wrong =
        Invalid(root, i < prefix ? schema["prefixItems"][i] : schema["items"], value[i], depth + 1);
    if (!wrong.empty()) return absl::StrCat("[", i, "] ", wrong);
  }
  return "";
}

std::string InvalidObject(const Json& root, const Json& schema, const Json& value, int depth) {
  if (schema.contains("minProperties") && value.size() < schema["minProperties"].get<size_t>()) return "minProperties";
  if (schema.contains("maxProperties") && value.size() > schema["maxProperties"].get<size_t>()) return "maxProperties";
  if (schema.contains("required")) {
    for (const std::string name : schema["required"]) {
      if (!value.contains(name)) return "required " + name;
    }
  }
  for (const auto& [name, member] : value.items()) {
    const bool known = schema.contains("properties") && schema["properties"].contains(name);
    if (!known && !schema.contains("additionalProperties")) continue;
    const Json& rule = known ? schema["properties"][name] : schema["additionalProperties"];
    const std::string wrong = Invalid(root, rule, member, depth + 1);
    if (!wrong.empty()) return absl::StrCat(".", name, " ", wrong);
  }
  return "";
}

std::string InvalidCombination(const Json& root, const Json& schema, const Json& value, int depth) {
  const auto count = [&](const char* keyword) {
    int valid = 0;
    for (const Json& one : schema[keyword]) valid += Invalid(root, one, value, depth + 1).empty() ? 1 : 0;
    return valid;
  };
  if (schema.contains("anyOf") && count("anyOf") == 0) return "anyOf";
  if (schema.contains("oneOf") && count("oneOf") != 1) return "oneOf";
  if (schema.contains("allOf") && count("allOf") != static_cast<int>(schema["allOf"].size())) return "allOf";
  if (schema.contains("$ref")) {
    return Invalid(root, root.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), value, depth + 1);
  }
  return "";
}

}  // namespace

std::string Invalid(const Json& root, const Json& schema, const Json& value, int depth) {
  if (depth > 2000) return "too deep";
  if (schema.is_boolean()) return schema.get<bool>() ? "" : "false";
  if (schema.contains("type")) {
    const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    if (std::none_of(types.begin(), types.end(), [&](const Json& type) { return IsType(value, type); })) return "type";
  }
  if (schema.contains("const") && !Equal(schema["const"], value)) return "const";
  if (schema.contains("enum")) {
    const Json& list = schema["enum"];
    if (std::none_of(list.begin(), list.end(), [&](const Json& one) { return Equal(one, value); })) return "enum";
  }
  std::string wrong;
  if (value.is_string()) wrong = InvalidText(schema, value.get<std::string>());
  if (value.is_number()) wrong = InvalidNumber(schema, value.get<double>());
  if (value.is_array()) wrong = InvalidArray(root, schema, value, depth);
  if (value.is_object()) wrong = InvalidObject(root, schema, value, depth);
  return wrong.empty() ? InvalidCombination(root, schema, value, depth) : wrong;
}

}  // namespace barn::grammar
