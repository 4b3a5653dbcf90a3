#include "coordinator/http/openai_tools.h"

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr size_t kToolNameBytesMax = 256;

void ReadChoice(Fields& fields, ToolChoice& choice) {
  const Json* value = fields.Find("tool_choice");
  if (value == nullptr || *value == "auto") return;
  if (*value == "none") {
    choice.kind = ToolChoice::Kind::kNone;
  } else if (*value == "required") {
    choice.kind = ToolChoice::Kind::kRequired;
  } else {
    const Json* function = FindEntry(*value, "function");
    const Json* name = function == nullptr ? nullptr : FindEntry(*function, "name");
    if (name == nullptr || !name->is_string()) {
      return fields.Fail(
          "tool_choice",
          "must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": "
          "...}}");
    }
    choice = {.kind = ToolChoice::Kind::kNamed, .name = name->get<std::string>()};
  }
}

}  // namespace

const Json* FindEntry(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

void AddToolSpec(Fields& fields, const std::string& where, const Json* name, const Json* schema,
                 std::vector<ToolSpec>& specs) {
  if (name == nullptr || !name->is_string() || name->get_ref<const std::string&>().empty()) {
    return fields.Fail(where, "must have a name");
  }
  ToolSpec spec{.name = name->get<std::string>()};
  if (spec.name.size() > kToolNameBytesMax) {
    return fields.Fail(where, absl::StrCat("has a name of ", spec.name.size(), " bytes, at most ", kToolNameBytesMax));
  }
  if (FindTool(specs, spec.name) != nullptr) return fields.Fail(where, absl::StrCat("repeats the name ", spec.name));
  if (schema != nullptr && !schema->is_object()) return fields.Fail(where, "must have an object for its parameters");
  const Json* properties = schema == nullptr ? nullptr : FindEntry(*schema, "properties");
  if (properties != nullptr && properties->is_object()) {
    for (const auto& [key, property] : properties->items()) {
      const Json* type = FindEntry(property, "type");
      if (type != nullptr && *type == "string") spec.text_parameters.insert(key);
    }
  }
  specs.push_back(std::move(spec));
}

void CheckToolChoice(Fields& fields, const ChatRequest& request) {
  const ToolChoice& choice = request.tool_choice;
  const bool forced = choice.kind == ToolChoice::Kind::kRequired || choice.kind == ToolChoice::Kind::kNamed;
  if (!forced) return;
  if (request.tool_specs.empty()) return fields.Fail("tool_choice", "asks for a call, but there are no tools");
  if (choice.kind == ToolChoice::Kind::kNamed && FindTool(request.tool_specs, choice.name) == nullptr) {
    return fields.Fail("tool_choice", absl::StrCat("names the tool '", choice.name, "', which is not among the tools"));
  }
}

void ReadTools(Fields& fields, ChatRequest& request) {
  request.parallel_tool_calls = fields.Bool("parallel_tool_calls", true);
  ReadChoice(fields, request.tool_choice);
  if (const Json* tools = fields.Find("tools"); tools != nullptr) {
    if (!tools->is_array()) return fields.Fail("tools", absl::StrCat("must be a list, not ", tools->type_name()));
    if (tools->size() > kToolsMax) {
      return fields.Fail("tools", absl::StrCat("has ", tools->size(), " entries, at most ", kToolsMax));
    }
    for (size_t i = 0; i < tools->size() && fields.ok(); ++i) {
      const std::string where = absl::StrCat("tools[", i, "]");
      const Json* function = FindEntry((*tools)[i], "function");
      const Json* type = FindEntry((*tools)[i], "type");
      if (function == nullptr || (type != nullptr && *type != "function")) {
        return fields.Fail(where, "must be {\"type\": \"function\", \"function\": {...}}");
      }
      AddToolSpec(fields, where, FindEntry(*function, "name"), FindEntry(*function, "parameters"), request.tool_specs);
    }
  }
  CheckToolChoice(fields, request);
}

}  // namespace barn
