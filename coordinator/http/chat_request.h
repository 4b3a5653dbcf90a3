#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/shared_fields.h"
#include "coordinator/text/jinja/value.h"
#include "coordinator/text/tools/call_reader.h"

namespace barn {

// Which tools an answer may or must call.
struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name = {};  // With kNamed.
};

// A chat in any dialect. Messages and tools have OpenAI's form, which templates are written for, objects in the order
// in which the client wrote them.
struct ChatRequest {
  SharedFields shared;
  jinja::List messages;
  jinja::Value tools = jinja::Value(jinja::None{});  // None, or a list that is not empty.
  std::vector<ToolSpec> tool_specs;                  // The same tools.
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  std::optional<std::string> reasoning_effort;  // "none" asks for no reasoning.
  std::optional<int64_t> thought_tokens;        // The most that reasoning may have; < 0: as many as it likes.
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // The answer goes on with the last message, which is the assistant's.
  jinja::Dict template_inputs;          // Further variables of the template.
};

}  // namespace barn
