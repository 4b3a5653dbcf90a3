#include "coordinator/http/anthropic/messages_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/fields.h"
#include "coordinator/http/openai_fields.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/openai_tools.h"
#include "coordinator/http/ordered_json.h"
#include "coordinator/http/sampling_fields.h"
#include "coordinator/text/jinja/json_value.h"

namespace barn {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Value;
using Json = nlohmann::json;

// {"type": "enabled", "budget_tokens": N}, "disabled" or "adaptive".
void ReadThinking(Fields& fields, ChatRequest& request) {
  const Json* value = fields.Find("thinking");
  if (value == nullptr) return;
  const Json* type = value->is_object() ? FindEntry(*value, "type") : nullptr;
  if (type == nullptr || (*type != "enabled" && *type != "disabled" && *type != "adaptive")) {
    return fields.Fail("thinking", "must be an object with type enabled, disabled or adaptive");
  }
  request.reasoning_effort = *type == "disabled" ? "none" : "medium";
  if (*type != "enabled") return;
  Fields inner(*value, "thinking.");
  request.thought_tokens = inner.OptionalInteger("budget_tokens", 0, kMaxTokensMax);
  if (!inner.ok()) fields.Fail(*inner.error());
}

void ReadChoice(Fields& fields, ChatRequest& request) {
  const Json* value = fields.Find("tool_choice");
  if (value == nullptr) return;
  const Json* type = value->is_object() ? FindEntry(*value, "type") : nullptr;
  ToolChoice& choice = request.tool_choice;
  if (type != nullptr && *type == "none") {
    choice.kind = ToolChoice::Kind::kNone;
  } else if (type != nullptr && *type == "any") {
    choice.kind = ToolChoice::Kind::kRequired;
  } else if (type != nullptr && *type == "tool") {
    Fields inner(*value, "tool_choice.");
    choice = {.kind = ToolChoice::Kind::kNamed, .name = inner.String("name", "")};
    if (!inner.ok()) return fields.Fail(*inner.error());
  } else if (type == nullptr || *type != "auto") {
    return fields.Fail("tool_choice", "must be an object with type auto, any, tool or none");
  }
  const Json* one = FindEntry(*value, "disable_parallel_tool_use");
  request.parallel_tool_calls = one == nullptr || *one != true;
}

void ReadMessagesTools(Fields& fields, ChatRequest& request) {
  ReadChoice(fields, request);
  const Json* tools = fields.Find("tools");
  if (tools != nullptr && (!tools->is_array() || tools->size() > kToolsMax)) {
    return fields.Fail("tools", absl::StrCat("must be a list of at most ", kToolsMax, " tools"));
  }
  for (size_t i = 0; tools != nullptr && i < tools->size() && fields.ok(); ++i) {
    const Json& tool = (*tools)[i];
    const std::string where = absl::StrCat("tools[", i, "]");
    const Json* type = tool.is_object() ? FindEntry(tool, "type") : nullptr;
    if (type != nullptr && *type != "custom") {
      fields.Fail(where, absl::StrCat("is of type ", type->dump(), "; only tools of your own are supported"));
    } else if (!tool.is_object() || FindEntry(tool, "input_schema") == nullptr) {
      fields.Fail(where, "must be an object with name and input_schema");
    } else {
      AddToolSpec(fields, where, FindEntry(tool, "name"), FindEntry(tool, "input_schema"), request.tool_specs);
    }
  }
  CheckToolChoice(fields, request);
}

// {"format": {"type": "json_schema", "schema": {...}}, "effort": ...}
void ReadOutputConfig(Fields& fields, ChatRequest& request) {
  const Json* config = fields.Find("output_config");
  if (config == nullptr) return;
  if (!config->is_object()) return fields.Fail("output_config", "must be an object");
  Fields inner(*config, "output_config.");
  if (const auto effort = ReadEffort(inner, "effort"); effort.has_value() && request.reasoning_effort != "none") {
    request.reasoning_effort = effort;
  }
  if (const Json* format = inner.Find("format"); format != nullptr) {
    const Json* type = format->is_object() ? FindEntry(*format, "type") : nullptr;
    const Json* schema = format->is_object() ? FindEntry(*format, "schema") : nullptr;
    if (type == nullptr || *type != "json_schema" || schema == nullptr) {
      inner.Fail("format", "must have the type json_schema and a schema");
    }
    request.shared.form.field = "output_config.format";
    request.shared.form.schema_path = {"output_config", "format", "schema"};
  }
  if (!inner.ok()) fields.Fail(*inner.error());
}

void ReadStops(Fields& fields, std::vector<std::string>& stop) {
  const Json* value = fields.Find("stop_sequences");
  if (value != nullptr) ReadStopList(fields, "stop_sequences", *value, stop);
}

// The text of a string or of a list of text blocks.
std::optional<ApiError> BlockText(const Value& content, const std::string& where, std::string& text) {
  if (content.is_string()) {
    text = *content.text();
    return std::nullopt;
  }
  if (content.list() == nullptr) return BadEntry(where, "must be a string or a list of blocks");
  for (const Value& block : *content.list()) {
    const std::string* type = FindText(block, "type");
    const std::string* part = FindText(block, "text");
    if (type == nullptr || *type != "text" || part == nullptr) {
      return BadEntry(where, "may only hold blocks of type text: the model reads text alone");
    }
    if (!text.empty()) text += "\n";
    text += *part;
  }
  return std::nullopt;
}

// Collects the blocks of one message as messages that templates know.
class Blocks {
 public:
  Blocks(std::string role, std::string where, List& messages)
      : role_(std::move(role)), where_(std::move(where)), messages_(messages) {}

  std::optional<ApiError> Add(const Value& block) {
    const std::string* type = FindText(block, "type");
    if (type == nullptr) return BadEntry(where_, "must be an object with a type");
    if (*type == "text") return AddText(block);
    if (*type == "tool_result" && role_ == "user") return AddResult(block);
    if (*type == "tool_use" && role_ == "assistant") return AddUse(block);
    if (*type == "thinking" && role_ == "assistant") {
      if (const std::string* thinking = FindText(block, "thinking"); thinking != nullptr) reasoning_ += *thinking;
      return std::nullopt;
    }
    if (*type == "redacted_thinking" && role_ == "assistant") return std::nullopt;
    return BadEntry(where_,
                    absl::StrCat("is of type '", *type, "', which this server does not read for the role ", role_));
  }

  void Flush() {
    if (text_.empty() && calls_.empty() && reasoning_.empty()) return;
    Dict message = MessageDict(role_, Value(std::exchange(text_, "")));
    if (!reasoning_.empty()) message.Set("reasoning_content", Value(std::exchange(reasoning_, "")));
    if (!calls_.empty()) message.Set("tool_calls", Value(std::exchange(calls_, {})));
    messages_.push_back(Value(std::move(message)));
  }

  void set_where(std::string where) { where_ = std::move(where); }

 private:
  std::optional<ApiError> AddText(const Value& block) {
    const std::string* text = FindText(block, "text");
    if (text == nullptr) return BadEntry(where_, "must have a text");
    if (!text_.empty()) text_ += "\n";
    text_ += *text;
    return std::nullopt;
  }

  std::optional<ApiError> AddResult(const Value& block) {
    const std::string* id = FindText(block, "tool_use_id");
    if (id == nullptr) return BadEntry(where_, "must have a tool_use_id");
    std::string text;
    if (const Value* content = FindValue(block, "content"); content != nullptr) {
      if (auto error = BlockText(*content, where_ + ".content", text)) return error;
    }
    Flush();  // What stood before it.
    messages_.push_back(ToolResult(*id, text));
    return std::nullopt;
  }

  std::optional<ApiError> AddUse(const Value& block) {
    const std::string* id = FindText(block, "id");
    const std::string* name = FindText(block, "name");
    const Value* input = FindValue(block, "input");
    if (id == nullptr || name == nullptr || input == nullptr || !input->is_dict()) {
      return BadEntry(where_, "must have id, name and an object as input");
    }
    calls_.push_back(FunctionCall(*id, *name, *input));
    return std::nullopt;
  }

  const std::string role_;
  std::string where_;
  List& messages_;
  std::string text_;
  std::string reasoning_;
  List calls_;
};

std::optional<ApiError> AddMessage(const Value& message, const std::string& where, List& messages) {
  const std::string* role = FindText(message, "role");
  const Value* content = FindValue(message, "content");
  if (role == nullptr || (*role != "user" && *role != "assistant" && *role != "system")) {
    return BadEntry(where + ".role", "must be user or assistant");
  }
  if (content == nullptr) return BadEntry(where + ".content", "is required");
  if (content->is_string()) {
    messages.push_back(Value(MessageDict(*role, *content)));
    return std::nullopt;
  }
  if (content->list() == nullptr) return BadEntry(where + ".content", "must be a string or a list of blocks");
  Blocks blocks(*role, where, messages);
  for (size_t i = 0; i < content->list()->size(); ++i) {
    blocks.set_where(absl::StrCat(where, ".content[", i, "]"));
    if (auto error = blocks.Add((*content->list())[i])) return error;
  }
  blocks.Flush();
  return std::nullopt;
}

std::optional<ApiError> ReadMessages(const Value& body, ChatRequest& request) {
  if (const Value* system = FindValue(body, "system"); system != nullptr) {
    std::string text;
    if (auto error = BlockText(*system, "system", text)) return error;
    request.messages.push_back(Value(MessageDict("system", Value(std::move(text)))));
  }
  const List* messages = FindList(body, "messages");
  if (messages == nullptr) return BadParam("messages", "'messages' is required: a list");
  if (messages->empty()) return BadParam("messages", "'messages' is empty");
  if (messages->size() > kMessagesMax) {
    return BadParam("messages", absl::StrCat("'messages' has more than ", kMessagesMax, " entries"));
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    if (auto error = AddMessage((*messages)[i], absl::StrCat("messages[", i, "]"), request.messages)) return error;
  }
  const std::string* last = FindText(request.messages.back(), "role");
  request.continue_final_message = last != nullptr && *last == "assistant";
  return std::nullopt;
}

void OrderTools(const Value& body, ChatRequest& request) {
  const List* tools = FindList(body, "tools");
  if (tools == nullptr || request.tool_specs.empty()) return;
  List ordered;
  for (const Value& tool : *tools) {
    ordered.push_back(FunctionTool(tool, "input_schema"));
  }
  request.tools = Value(std::move(ordered));
}

}  // namespace

std::optional<ApiError> ReadMessagesRequest(const Json& body, std::string_view text, bool counts_only,
                                            ChatRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  SharedFields& shared = request.shared;
  shared.model = fields.String("model", "");
  ReadSampling(fields, shared.sampling);
  ReadStops(fields, shared.stop);
  shared.max_tokens = fields.OptionalInteger("max_tokens", 1, kMaxTokensMax);
  if (!shared.max_tokens.has_value() && !counts_only) fields.Fail("max_tokens", "is required");
  shared.stream = fields.Bool("stream", false);
  ReadMessagesTools(fields, request);
  ReadThinking(fields, request);
  ReadOutputConfig(fields, request);
  if (!fields.ok()) return fields.error();
  const absl::StatusOr<Value> ordered = jinja::ParseJson(text);
  if (!ordered.ok()) return FromStatus(ordered.status());
  if (auto error = ReadSchema(text, shared.form)) return error;
  if (auto error = ReadMessages(*ordered, request)) return error;
  OrderTools(*ordered, request);
  return std::nullopt;
}

}  // namespace barn
