#pragma once

#include "coordinator/http/chat_request.h"
#include "coordinator/http/fields.h"

namespace barn {

// Checks tools, tool_choice and parallel_tool_calls and fills in what is not text for the template.
void ReadTools(Fields& fields, ChatRequest& request);

// The entry of an object; null if it is absent, null, or `object` is none.
const nlohmann::json* FindEntry(const nlohmann::json& object, const char* key);

// Adds a tool by its name and the JSON schema of its parameters (null: none). Fails at the field `where`.
void AddToolSpec(Fields& fields, const std::string& where, const nlohmann::json* name, const nlohmann::json* schema,
                 std::vector<ToolSpec>& specs);

// A named tool must be there, and with none there is nothing to require.
void CheckToolChoice(Fields& fields, const ChatRequest& request);

}  // namespace barn
