#include "coordinator/http/openai_request.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/http/openai_fields.h"
#include "coordinator/text/jinja/json_value.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Prompt = std::variant<std::string, std::vector<int32_t>>;

constexpr int64_t kMaxTokensMax = std::numeric_limits<int32_t>::max();
constexpr int64_t kMessagesMax = 100'000;

ApiError NotAnObject(const Json& body) {
  ApiError error;
  error.message = absl::StrCat("the body must be a JSON object, not ", body.type_name());
  return error;
}

bool ReadIds(Fields& fields, const Json& list, std::vector<int32_t>& ids) {
  ids.reserve(list.size());
  for (const Json& entry : list) {
    const bool fits = entry.is_number_unsigned() && entry.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
    if (!fits) {
      fields.Fail("prompt", absl::StrCat("holds ", entry.is_number() ? entry.dump() : entry.type_name(),
                                         " where a token id is due"));
      return false;
    }
    ids.push_back(entry.get<int32_t>());
  }
  return true;
}

// A text, or a list of token ids.
std::optional<Prompt> ReadPrompt(Fields& fields, const Json& value) {
  if (value.is_string()) return Prompt(value.get<std::string>());
  std::vector<int32_t> ids;
  if (value.is_array() && !value.empty()) {
    if (ReadIds(fields, value, ids)) return Prompt(std::move(ids));
  } else {
    fields.Fail("prompt",
                "must be a string, a list of strings, a list of token ids or a list of such lists, none empty");
  }
  return std::nullopt;
}

void ReadPrompts(Fields& fields, std::vector<Prompt>& prompts) {
  const Json* value = fields.Find("prompt");
  if (value == nullptr) return fields.Fail("prompt", "is required");
  const bool several = value->is_array() && !value->empty() && !value->front().is_number();
  const size_t count = several ? value->size() : 1;
  if (count > kChoicesMax) {
    return fields.Fail("prompt", absl::StrCat("has ", count, " entries, at most ", kChoicesMax, " are allowed"));
  }
  for (size_t i = 0; i < count; ++i) {
    std::optional<Prompt> prompt = ReadPrompt(fields, several ? (*value)[i] : *value);
    if (!prompt.has_value()) return;
    prompts.push_back(std::move(*prompt));
  }
}

// The text of a message: a string, or parts of type "text". Null is empty, as with assistant messages that only call
// tools.
std::optional<std::string> ReadContent(Fields& fields, const std::string& name, const Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) {
    fields.Fail(name, "is required");
    return std::nullopt;
  }
  if (content->is_null()) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    fields.Fail(name, "must be a string or a list of parts");
    return std::nullopt;
  }
  std::string text;
  for (const Json& part : *content) {
    const bool is_text =
        part.is_object() && part.value("type", Json()) == "text" && part.contains("text") && part["text"].is_string();
    if (!is_text) {
      fields.Fail(name,
                  "may only hold parts of the form {\"type\": \"text\", \"text\": ...}: the model reads text alone");
      return std::nullopt;
    }
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

std::optional<ChatMessage> ReadMessage(Fields& fields, size_t index, const Json& message) {
  static constexpr absl::string_view kRoles[] = {"system", "developer", "user", "assistant"};
  const std::string name = absl::StrCat("messages[", index, "]");
  if (!message.is_object()) {
    fields.Fail(name, "must be an object");
    return std::nullopt;
  }
  const std::string role = message.value("role", Json()).is_string() ? message["role"].get<std::string>() : "";
  if (role == "tool" || role == "function" || (message.contains("tool_calls") && !message["tool_calls"].empty())) {
    fields.Fail(name, "is about tools, which this server does not support yet");
    return std::nullopt;
  }
  if (std::find(std::begin(kRoles), std::end(kRoles), role) == std::end(kRoles)) {
    fields.Fail(name + ".role", "must be one of system, developer, user, assistant");
    return std::nullopt;
  }
  std::optional<std::string> content = ReadContent(fields, name + ".content", message);
  if (!content.has_value()) return std::nullopt;
  return ChatMessage{.role = role, .content = std::move(*content)};
}

void ReadMessages(Fields& fields, std::vector<ChatMessage>& messages) {
  const Json* value = fields.Find("messages");
  if (value == nullptr) return fields.Fail("messages", "is required");
  if (!value->is_array()) return fields.Fail("messages", absl::StrCat("must be a list, not ", value->type_name()));
  if (value->empty()) return fields.Fail("messages", "is empty");
  if (value->size() > kMessagesMax)
    return fields.Fail("messages", absl::StrCat("has more than ", kMessagesMax, " entries"));
  for (const Json& entry : *value) {
    std::optional<ChatMessage> message = ReadMessage(fields, messages.size(), entry);
    if (!message.has_value()) return;
    messages.push_back(std::move(*message));
  }
}

}  // namespace

std::optional<ApiError> ReadCompletionRequest(const Json& body, CompletionRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  SharedFields& shared = request.shared;
  ReadPrompts(fields, request.prompts);
  ReadShared(fields, shared);
  shared.max_tokens = fields.OptionalInteger("max_tokens", 0, kMaxTokensMax);
  request.echo = fields.Bool("echo", false);
  if (const auto count = fields.OptionalInteger("logprobs", 0, kTopLogprobsMax); count.has_value()) {
    shared.logprobs = true;
    shared.top_logprobs = static_cast<int>(*count);
  }
  const int64_t best_of = fields.Integer("best_of", shared.n, 1, kChoicesMax);
  if (fields.ok() && best_of != shared.n) fields.Fail("best_of", "is only supported when it equals n");
  const int64_t choices = shared.n * static_cast<int64_t>(request.prompts.size());
  if (fields.ok() && choices > kChoicesMax) {
    fields.Fail("n",
                absl::StrCat("makes ", choices, " choices with these prompts, at most ", kChoicesMax, " are allowed"));
  }
  return fields.error();
}

std::optional<ApiError> ReadTemplateInputs(std::string_view body, ChatRequest& request) {
  absl::StatusOr<jinja::Value> parsed = jinja::ParseJson(body);
  if (!parsed.ok()) return FromStatus(parsed.status());
  const jinja::Dict* fields = parsed->dict();
  const jinja::Value* messages = fields == nullptr ? nullptr : fields->Find("messages");
  if (messages == nullptr || messages->list() == nullptr) return BadParam("messages", "'messages' must be a list");
  request.raw_messages = *messages->list();
  const jinja::Value* extra = fields->Find("chat_template_kwargs");
  if (extra == nullptr || extra->is_none()) return std::nullopt;
  if (extra->dict() == nullptr) return BadParam("chat_template_kwargs", "'chat_template_kwargs' must be an object");
  request.template_inputs = *extra->dict();
  return std::nullopt;
}

std::optional<ApiError> ReadChatRequest(const Json& body, ChatRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  SharedFields& shared = request.shared;
  ReadMessages(fields, request.messages);
  ReadShared(fields, shared);
  const absl::string_view limit =
      fields.Find("max_completion_tokens") == nullptr ? "max_tokens" : "max_completion_tokens";
  shared.max_tokens = fields.OptionalInteger(limit, 1, kMaxTokensMax);
  shared.logprobs = fields.Bool("logprobs", false);
  const auto top = fields.OptionalInteger("top_logprobs", 0, kTopLogprobsMax);
  if (top.has_value() && !shared.logprobs) fields.Fail("top_logprobs", "needs logprobs: true");
  shared.top_logprobs = static_cast<int>(top.value_or(0));
  if (const Json* modalities = fields.Find("modalities");
      modalities != nullptr && *modalities != Json::array({"text"})) {
    fields.Fail("modalities", "may only be [\"text\"]");
  }
  return fields.error();
}

}  // namespace barn
