#include "coordinator/http/responses/response_request.h"

#include <algorithm>
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

constexpr char kIncludeLogprobs[] = "message.output_text.logprobs";

void ReadChoice(Fields& fields, ToolChoice& choice) {
  const Json* value = fields.Find("tool_choice");
  if (value == nullptr || *value == "auto") return;
  const Json* name = FindEntry(*value, "name");
  if (*value == "none") {
    choice.kind = ToolChoice::Kind::kNone;
  } else if (*value == "required") {
    choice.kind = ToolChoice::Kind::kRequired;
  } else if (name != nullptr && name->is_string()) {
    choice = {.kind = ToolChoice::Kind::kNamed, .name = name->get<std::string>()};
  } else {
    fields.Fail("tool_choice", "must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"name\": ...}");
  }
}

void ReadResponseTools(Fields& fields, ChatRequest& request) {
  ReadChoice(fields, request.tool_choice);
  request.parallel_tool_calls = fields.Bool("parallel_tool_calls", true);
  const Json* tools = fields.Find("tools");
  if (tools != nullptr && (!tools->is_array() || tools->size() > kToolsMax)) {
    return fields.Fail("tools", absl::StrCat("must be a list of at most ", kToolsMax, " tools"));
  }
  for (size_t i = 0; tools != nullptr && i < tools->size() && fields.ok(); ++i) {
    const Json& tool = (*tools)[i];
    const std::string where = absl::StrCat("tools[", i, "]");
    const Json* type = FindEntry(tool, "type");
    if (type == nullptr || *type != "function") {
      fields.Fail(where, "must be of type function: this server runs no tools of its own");
    } else {
      AddToolSpec(fields, where, FindEntry(tool, "name"), FindEntry(tool, "parameters"), request.tool_specs);
    }
  }
  CheckToolChoice(fields, request);
}

// {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "schema": {...}}.
void ReadFormat(Fields& fields, AnswerForm& form) {
  const Json* text = fields.Find("text");
  const Json* format = text == nullptr ? nullptr : FindEntry(*text, "format");
  if (format == nullptr) return;
  const Json* type = FindEntry(*format, "type");
  if (type != nullptr && *type == "text") return;
  form.field = "text.format";
  if (type != nullptr && *type == "json_object") {
    form.source = grammar::JsonObjectSource();
  } else if (type != nullptr && *type == "json_schema" && FindEntry(*format, "schema") != nullptr) {
    form.schema_path = {"text", "format", "schema"};
  } else {
    fields.Fail("text.format", "must have the type text, json_object or json_schema, the last one with a schema");
  }
}

// Asked for by name in `include`, and by a number of best ones.
void ReadLogprobs(Fields& fields, SharedFields& shared) {
  shared.top_logprobs = static_cast<int>(fields.Integer("top_logprobs", 0, 0, kTopLogprobsMax));
  const Json* include = fields.Find("include");
  if (include != nullptr && !include->is_array()) return fields.Fail("include", "must be a list");
  shared.logprobs = shared.top_logprobs > 0 || (include != nullptr && std::find(include->begin(), include->end(),
                                                                                kIncludeLogprobs) != include->end());
}

void ReadScalars(Fields& fields, ChatRequest& request) {
  SharedFields& shared = request.shared;
  shared.model = fields.String("model", "");
  ReadSampling(fields, shared.sampling);
  shared.max_tokens = fields.OptionalInteger("max_output_tokens", 1, kMaxTokensMax);
  shared.stream = fields.Bool("stream", false);
  fields.String("instructions", "");
  const std::string truncation = fields.String("truncation", "disabled");
  if (truncation != "auto" && truncation != "disabled") fields.Fail("truncation", "must be auto or disabled");
  shared.truncate = truncation == "auto";
  ReadLogprobs(fields, shared);
  for (const char* name : {"previous_response_id", "conversation", "prompt", "background"}) {
    const Json* value = fields.Find(name);
    if (value != nullptr && *value != false) {
      fields.Fail(name, "is not supported: this server keeps no conversations, send the whole input");
    }
  }
  ReadReasoning(fields, request);
  ReadFormat(fields, shared.form);
}

std::optional<ApiError> PartsText(const Value& content, const std::string& where, std::string& text) {
  if (content.is_string()) {
    text = *content.text();
    return std::nullopt;
  }
  if (content.list() == nullptr) return BadEntry(where, "must be a string or a list of parts");
  for (const Value& part : *content.list()) {
    const std::string* words = FindText(part, "text");
    const std::string* type = FindText(part, "type");
    const bool known = type != nullptr && (*type == "input_text" || *type == "output_text" || *type == "text" ||
                                           *type == "reasoning_text" || *type == "summary_text");
    if (!known || words == nullptr) return BadEntry(where, "may only hold parts of text: the model reads text alone");
    text += *words;
  }
  return std::nullopt;
}

// Collects the items of an input. What an assistant said, thought and called in a row is one message of a chat.
class Items {
 public:
  explicit Items(List& messages) : messages_(messages) {}

  std::optional<ApiError> Add(const Value& item, const std::string& where) {
    const std::string* type = FindText(item, "type");
    if (type == nullptr || *type == "message") return AddMessage(item, where);
    if (*type == "function_call") return AddCall(item, where);
    if (*type == "function_call_output") return AddOutput(item, where);
    if (*type == "reasoning") return AddReasoning(item, where);
    return BadEntry(where, absl::StrCat("is of type '", *type, "', which this server does not read"));
  }

  void Flush() {
    if (!pending_) return reasoning_.clear();  // Thoughts that led to nothing.
    Dict message = MessageDict("assistant", Value(std::exchange(text_, "")));
    if (!reasoning_.empty()) message.Set("reasoning_content", Value(std::exchange(reasoning_, "")));
    if (!calls_.empty()) message.Set("tool_calls", Value(std::exchange(calls_, {})));
    messages_.push_back(Value(std::move(message)));
    pending_ = false;
  }

 private:
  std::optional<ApiError> AddMessage(const Value& item, const std::string& where) {
    const std::string* role = FindText(item, "role");
    const Value* content = FindValue(item, "content");
    if (role == nullptr || (*role != "user" && *role != "system" && *role != "developer" && *role != "assistant")) {
      return BadEntry(where + ".role", "must be one of user, system, developer, assistant");
    }
    if (content == nullptr) return BadEntry(where + ".content", "is required");
    std::string text;
    if (auto error = PartsText(*content, where + ".content", text)) return error;
    if (*role != "assistant" || !calls_.empty() || !text_.empty()) Flush();
    if (*role == "assistant") {
      text_ = std::move(text);
      pending_ = true;
    } else {
      messages_.push_back(Value(MessageDict(*role, Value(std::move(text)))));
    }
    return std::nullopt;
  }

  std::optional<ApiError> AddCall(const Value& item, const std::string& where) {
    const std::string* id = FindText(item, "call_id");
    const std::string* name = FindText(item, "name");
    const Value* arguments = FindValue(item, "arguments");
    if (id == nullptr || name == nullptr || arguments == nullptr || !arguments->is_string()) {
      return BadEntry(where, "must have call_id, name and a text as arguments");
    }
    calls_.push_back(FunctionCall(*id, *name, *arguments));
    pending_ = true;
    return std::nullopt;
  }

  std::optional<ApiError> AddOutput(const Value& item, const std::string& where) {
    const std::string* id = FindText(item, "call_id");
    const Value* output = FindValue(item, "output");
    if (id == nullptr || output == nullptr) return BadEntry(where, "must have call_id and output");
    std::string text;
    if (auto error = PartsText(*output, where + ".output", text)) return error;
    Flush();
    messages_.push_back(ToolResult(*id, text));
    return std::nullopt;
  }

  std::optional<ApiError> AddReasoning(const Value& item, const std::string& where) {
    if (pending_) Flush();
    const Value* content = FindValue(item, "content");
    if (content == nullptr) return std::nullopt;  // Encrypted by somebody else.
    return PartsText(*content, where + ".content", reasoning_);
  }

  List& messages_;
  std::string text_;
  std::string reasoning_;
  List calls_;
  bool pending_ = false;
};

std::optional<ApiError> ReadInput(const Value& body, ChatRequest& request) {
  if (const std::string* instructions = FindText(body, "instructions"); instructions != nullptr) {
    request.messages.push_back(Value(MessageDict("system", Value(*instructions))));
  }
  const Value* input = FindValue(body, "input");
  if (input == nullptr) return BadParam("input", "'input' is required: a text or a list of items");
  if (input->is_string()) {
    request.messages.push_back(Value(MessageDict("user", *input)));
    return std::nullopt;
  }
  if (input->list() == nullptr || input->list()->empty()) {
    return BadParam("input", "'input' must be a text or a list of items, not empty");
  }
  if (input->list()->size() > kMessagesMax) {
    return BadParam("input", absl::StrCat("'input' has more than ", kMessagesMax, " entries"));
  }
  Items items(request.messages);
  for (size_t i = 0; i < input->list()->size(); ++i) {
    if (auto error = items.Add((*input->list())[i], absl::StrCat("input[", i, "]"))) return error;
  }
  items.Flush();
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> ReadResponseRequest(const Json& body, std::string_view text, ChatRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadScalars(fields, request);
  ReadResponseTools(fields, request);
  if (!fields.ok()) return fields.error();
  const absl::StatusOr<Value> ordered = jinja::ParseJson(text);
  if (!ordered.ok()) return FromStatus(ordered.status());
  if (auto error = ReadSchema(text, request.shared.form)) return error;
  if (auto error = ReadInput(*ordered, request)) return error;
  const List* tools = FindList(*ordered, "tools");
  if (tools == nullptr || request.tool_specs.empty()) return std::nullopt;
  List shaped;
  for (const Value& tool : *tools) {
    shaped.push_back(FunctionTool(tool, "parameters"));
  }
  request.tools = Value(std::move(shaped));
  return std::nullopt;
}

}  // namespace barn
