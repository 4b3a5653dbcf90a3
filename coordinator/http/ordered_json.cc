#include "coordinator/http/ordered_json.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace barn {

using jinja::Dict;
using jinja::Value;

const Value* FindValue(const Value& object, std::string_view key) {
  const Value* value = object.dict() == nullptr ? nullptr : object.dict()->Find(key);
  return value == nullptr || value->is_none() ? nullptr : value;
}

const std::string* FindText(const Value& object, std::string_view key) {
  const Value* value = FindValue(object, key);
  return value == nullptr ? nullptr : value->text();
}

const jinja::List* FindList(const Value& object, std::string_view key) {
  const Value* value = FindValue(object, key);
  return value == nullptr ? nullptr : value->list();
}

Dict MessageDict(std::string_view role, Value content) {
  Dict message;
  message.Set("role", Value(role));
  message.Set("content", std::move(content));
  return message;
}

Value FunctionTool(const Value& tool, std::string_view schema_key) {
  Dict function, shaped;
  const auto copy = [&](std::string_view from, std::string_view to) {
    if (const Value* value = FindValue(tool, from); value != nullptr) function.Set(to, *value);
  };
  copy("name", "name");
  copy("description", "description");
  copy(schema_key, "parameters");
  copy("strict", "strict");
  shaped.Set("type", Value("function"));
  shaped.Set("function", Value(std::move(function)));
  return Value(std::move(shaped));
}

Value FunctionCall(std::string_view id, std::string_view name, Value arguments) {
  Dict function, call;
  function.Set("name", Value(name));
  function.Set("arguments", std::move(arguments));
  call.Set("id", Value(id));
  call.Set("type", Value("function"));
  call.Set("function", Value(std::move(function)));
  return Value(std::move(call));
}

Value ToolResult(std::string_view id, std::string_view content) {
  Dict message = MessageDict("tool", Value(content));
  message.Set("tool_call_id", Value(id));
  return Value(std::move(message));
}

ApiError BadEntry(const std::string& where, std::string_view what) {
  return BadParam(where, absl::StrCat("'", where, "' ", absl::string_view(what.data(), what.size())));
}

}  // namespace barn
