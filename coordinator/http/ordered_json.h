#pragma once

#include <string>
#include <string_view>

#include "coordinator/http/api_error.h"
#include "coordinator/text/jinja/value.h"

namespace barn {

// Looking into JSON that keeps its order, and making the messages that templates know.

// The entry of an object; null if it is absent, null, or `object` is none.
const jinja::Value* FindValue(const jinja::Value& object, std::string_view key);
const std::string* FindText(const jinja::Value& object, std::string_view key);
const jinja::List* FindList(const jinja::Value& object, std::string_view key);

// "'messages[2]' must be ...", about the entry at `where`.
ApiError BadEntry(const std::string& where, std::string_view what);

// {"role": ..., "content": ...}
jinja::Dict MessageDict(std::string_view role, jinja::Value content);

// {"type": "function", "function": {"name", "description", "parameters", "strict"}} of a tool that has these entries
// itself, the parameters under `schema_key`; what is absent is left out.
jinja::Value FunctionTool(const jinja::Value& tool, std::string_view schema_key);

// {"id", "type": "function", "function": {"name", "arguments"}}
jinja::Value FunctionCall(std::string_view id, std::string_view name, jinja::Value arguments);

// {"role": "tool", "tool_call_id", "content"}
jinja::Value ToolResult(std::string_view id, std::string_view content);

}  // namespace barn
