#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "coordinator/http/openai_fields.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/openai_tools.h"
#include "coordinator/text/jinja/json_value.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};

bool IsString(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

// A string, or parts of type "text". Null is empty, as with assistant messages that only call tools.
void CheckContent(Fields& fields, const std::string& name, const Json& message, bool required) {
  const auto content = message.find("content");
  if (content == message.end()) {
    if (required) fields.Fail(name, "is required");
    return;
  }
  if (content->is_null() || content->is_string()) return;
  if (!content->is_array()) return fields.Fail(name, "must be a string or a list of parts");
  for (const Json& part : *content) {
    if (part.is_object() && part.value("type", Json()) == "text" && IsString(part, "text")) continue;
    return fields.Fail(
        name, "may only hold parts of the form {\"type\": \"text\", \"text\": ...}: the model reads text alone");
  }
}

void CheckCalls(Fields& fields, const std::string& name, const Json& calls) {
  if (!calls.is_array()) return fields.Fail(name, "must be a list");
  for (size_t i = 0; i < calls.size(); ++i) {
    const Json& call = calls[i];
    const bool is_function = call.is_object() && call.contains("function") && call["function"].is_object();
    if (!is_function || !IsString(call["function"], "name")) {
      return fields.Fail(absl::StrCat(name, "[", i, "]"), "must be an object with function.name");
    }
    const Json arguments = call["function"].value("arguments", Json("{}"));
    if (!arguments.is_string() && !arguments.is_object()) {
      return fields.Fail(absl::StrCat(name, "[", i, "].function.arguments"), "must be the text of a JSON object");
    }
  }
}

void CheckMessage(Fields& fields, size_t index, const Json& message) {
  static constexpr absl::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  const std::string name = absl::StrCat("messages[", index, "]");
  if (!message.is_object()) return fields.Fail(name, "must be an object");
  const std::string role = IsString(message, "role") ? message["role"].get<std::string>() : "";
  if (std::find(std::begin(kRoles), std::end(kRoles), role) == std::end(kRoles)) {
    return fields.Fail(name + ".role", "must be one of system, developer, user, assistant, tool");
  }
  const bool calls = message.contains("tool_calls") && !message["tool_calls"].empty();
  if (calls && role != "assistant") return fields.Fail(name + ".tool_calls", "is only for an assistant");
  if (calls) CheckCalls(fields, name + ".tool_calls", message["tool_calls"]);
  if (role == "tool" && !IsString(message, "tool_call_id")) {
    return fields.Fail(name + ".tool_call_id", "is required: the id of the call that this answers");
  }
  CheckContent(fields, name + ".content", message, !calls);
}

void CheckMessages(Fields& fields) {
  const Json* value = fields.Find("messages");
  if (value == nullptr) return fields.Fail("messages", "is required");
  if (!value->is_array()) return fields.Fail("messages", absl::StrCat("must be a list, not ", value->type_name()));
  if (value->empty()) return fields.Fail("messages", "is empty");
  if (value->size() > kMessagesMax) {
    return fields.Fail("messages", absl::StrCat("has more than ", kMessagesMax, " entries"));
  }
  for (size_t i = 0; i < value->size() && fields.ok(); ++i) CheckMessage(fields, i, (*value)[i]);
}

void ReadLogprobs(Fields& fields, SharedFields& shared) {
  shared.logprobs = fields.Bool("logprobs", false);
  const auto top = fields.OptionalInteger("top_logprobs", 0, kTopLogprobsMax);
  if (top.has_value() && !shared.logprobs) fields.Fail("top_logprobs", "needs logprobs: true");
  shared.top_logprobs = static_cast<int>(top.value_or(0));
}

}  // namespace

std::optional<std::string> ReadEffort(Fields& fields, absl::string_view name) {
  if (fields.Find(name) == nullptr) return std::nullopt;
  std::string effort = fields.String(name, "");
  if (std::find(std::begin(kEfforts), std::end(kEfforts), effort) == std::end(kEfforts)) {
    fields.Fail(name, "must be one of none, minimal, low, medium, high, xhigh, max");
  }
  return effort;
}

void ReadReasoning(Fields& fields, ChatRequest& request) {
  const Json* reasoning = fields.Find("reasoning");
  if (reasoning == nullptr) return;
  if (!reasoning->is_object()) return fields.Fail("reasoning", "must be an object");
  Fields inner(*reasoning, "reasoning.");
  request.reasoning_effort = ReadEffort(inner, "effort");
  request.thought_tokens = inner.OptionalInteger("max_tokens", 0, kMaxTokensMax);
  if (!inner.ok()) fields.Fail(*inner.error());
}

std::optional<ApiError> ReadChatRequest(const Json& body, ChatRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  SharedFields& shared = request.shared;
  CheckMessages(fields);
  ReadShared(fields, shared);
  const absl::string_view limit =
      fields.Find("max_completion_tokens") == nullptr ? "max_tokens" : "max_completion_tokens";
  shared.max_tokens = fields.OptionalInteger(limit, 1, kMaxTokensMax);
  ReadLogprobs(fields, shared);
  ReadTools(fields, request);
  ReadReasoning(fields, request);
  if (fields.Find("reasoning_effort") != nullptr) request.reasoning_effort = ReadEffort(fields, "reasoning_effort");
  // As llama-server and vLLM call it.
  for (const char* name : {"thinking_budget_tokens", "thinking_token_budget"}) {
    if (const auto tokens = fields.OptionalInteger(name, -1, kMaxTokensMax)) request.thought_tokens = tokens;
  }
  request.add_generation_prompt = fields.Bool("add_generation_prompt", true);
  request.continue_final_message = fields.Bool("continue_final_message", false);
  if (request.continue_final_message && fields.ok() && (*fields.Find("messages")).back()["role"] != "assistant") {
    fields.Fail("continue_final_message", "needs a last message of the role assistant");
  }
  if (const Json* modalities = fields.Find("modalities");
      modalities != nullptr && *modalities != Json::array({"text"})) {
    fields.Fail("modalities", "may only be [\"text\"]");
  }
  return fields.error();
}

std::optional<ApiError> ReadTemplateInputs(std::string_view body, ChatRequest& request) {
  absl::StatusOr<jinja::Value> parsed = jinja::ParseJson(body);
  if (!parsed.ok()) return FromStatus(parsed.status());
  const jinja::Dict* fields = parsed->dict();
  const jinja::Value* messages = fields == nullptr ? nullptr : fields->Find("messages");
  if (messages == nullptr || messages->list() == nullptr) return BadParam("messages", "'messages' must be a list");
  request.messages = *messages->list();
  const jinja::Value* tools = fields->Find("tools");
  if (tools != nullptr && !request.tool_specs.empty()) request.tools = *tools;
  const jinja::Value* extra = fields->Find("chat_template_kwargs");
  if (extra == nullptr || extra->is_none()) return std::nullopt;
  if (extra->dict() == nullptr) return BadParam("chat_template_kwargs", "'chat_template_kwargs' must be an object");
  request.template_inputs = *extra->dict();
  return std::nullopt;
}

}  // namespace barn
