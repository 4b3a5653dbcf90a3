#pragma once

#include <functional>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/text/jinja/value.h"

namespace barn {

// What a template makes of messages about tools. Templates disagree on the form of an assistant's calls, so the one
// that works is found by trying.
struct ToolForm {
  bool renders_tools = false;  // The definitions appear in the prompt.
  bool renders_calls = false;
  bool text_arguments = false;  // Arguments as JSON text instead of an object.
  bool null_content = false;    // The content of a message that only calls is none instead of "".
  bool short_ids = false;       // Ids of 9 letters and digits (Mistral).
  bool thinking = false;        // Reasoning of earlier messages is called "thinking".
};

// `render` makes a prompt of messages and tools, and may fail.
using ChatRenderer = std::function<absl::StatusOr<std::string>(const jinja::List& messages, const jinja::Value& tools)>;
ToolForm DetectToolForm(std::string_view source, const ChatRenderer& render);

// A message as clients send it (OpenAI's form) as the template wants it.
jinja::Value ShapeMessage(const jinja::Value& message, const ToolForm& form);

}  // namespace barn
