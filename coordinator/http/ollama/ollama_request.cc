#include "coordinator/http/ollama/ollama_request.h"

#include <deque>
#include <utility>

#include "absl/strings/match.h"
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

// true, false, or a level.
void ReadThink(Fields& fields, OllamaRequest& request) {
  const Json* value = fields.Find("think");
  if (value == nullptr) return;
  if (value->is_string()) {
    request.chat.reasoning_effort = ReadEffort(fields, "think");
    request.think = request.chat.reasoning_effort != "none";
  } else {
    request.think = fields.Bool("think", true);
    request.chat.reasoning_effort = *request.think ? "medium" : "none";
  }
}

// Seconds, or a text such as "5m"; 0 asks to unload.
void ReadKeepAlive(Fields& fields, OllamaRequest& request) {
  const Json* value = fields.Find("keep_alive");
  if (value == nullptr) return;
  if (!value->is_number() && !value->is_string()) {
    return fields.Fail("keep_alive", "must be a number of seconds or a text such as \"5m\"");
  }
  request.unloads = *value == 0 || *value == "0" || *value == "0s";
}

// Those options that steer the answer. The rest says how Ollama shall run a model, which a plan decides here.
void ReadOptions(Fields& fields, SharedFields& shared) {
  static const Json* none = new Json(Json::object());
  const Json* value = fields.Find("options");
  if (value != nullptr && !value->is_object()) return fields.Fail("options", "must be an object");
  Fields options(value == nullptr ? *none : *value, "options.");
  ReadSampling(options, shared.sampling);
  // What Ollama's clients count on when they say nothing.
  if (options.Find("temperature") == nullptr) shared.sampling.temperature = 0.8;
  if (options.Find("top_k") == nullptr) shared.sampling.top_k = 40;
  if (options.Find("top_p") == nullptr) shared.sampling.top_p = 0.9;
  // -1 and -2: as much as there is room for.
  const auto count = options.OptionalInteger("num_predict", -2, kMaxTokensMax);
  if (count.has_value() && *count > 0) shared.max_tokens = *count;
  if (const Json* stop = options.Find("stop"); stop != nullptr) ReadStopList(options, "stop", *stop, shared.stop);
  if (!options.ok()) fields.Fail(*options.error());
}

void ReadCommon(Fields& fields, OllamaRequest& request) {
  SharedFields& shared = request.chat.shared;
  shared.model = OllamaModelName(fields.String("model", ""));
  if (shared.model.empty()) fields.Fail("model", "is required");
  shared.stream = fields.Bool("stream", true);
  shared.logprobs = fields.Bool("logprobs", false);
  shared.top_logprobs = static_cast<int>(fields.Integer("top_logprobs", 0, 0, kTopLogprobsMax));
  ReadOptions(fields, shared);
  ReadThink(fields, request);
  ReadKeepAlive(fields, request);
  ReadOllamaFormat(fields, shared.form);
}

// Ollama's calls have no ids: a result belongs to the oldest call of its name, or of any, that waits.
class CallIds {
 public:
  std::string Add(const std::string& name) {
    waiting_.push_back({.name = name, .id = absl::StrCat("call_", count_++)});
    return waiting_.back().id;
  }
  std::string Take(const std::string* name) {
    auto found = waiting_.begin();
    while (name != nullptr && found != waiting_.end() && found->name != *name) ++found;
    if (found == waiting_.end()) found = waiting_.begin();
    if (found == waiting_.end()) return absl::StrCat("call_", count_++);
    std::string id = found->id;
    waiting_.erase(found);
    return id;
  }

 private:
  struct Waiting {
    std::string name;
    std::string id;
  };
  std::deque<Waiting> waiting_;
  int64_t count_ = 0;
};

std::optional<ApiError> AddCalls(const Value& message, const std::string& where, CallIds& ids, Dict& result) {
  const List* calls = FindList(message, "tool_calls");
  if (calls == nullptr || calls->empty()) return std::nullopt;
  List shaped;
  for (const Value& call : *calls) {
    const Value* function = FindValue(call, "function");
    const std::string* name = function == nullptr ? nullptr : FindText(*function, "name");
    const Value* arguments = function == nullptr ? nullptr : FindValue(*function, "arguments");
    if (name == nullptr || (arguments != nullptr && !arguments->is_dict())) {
      return BadEntry(where + ".tool_calls", "must hold function.name and an object as function.arguments");
    }
    const std::string id = ids.Add(*name);
    shaped.push_back(FunctionCall(id, *name, arguments == nullptr ? Value(Dict()) : *arguments));
  }
  result.Set("tool_calls", Value(std::move(shaped)));
  return std::nullopt;
}

std::optional<ApiError> AddMessage(const Value& message, const std::string& where, CallIds& ids, List& messages) {
  const std::string* role = FindText(message, "role");
  if (role == nullptr || (*role != "system" && *role != "user" && *role != "assistant" && *role != "tool")) {
    return BadEntry(where + ".role", "must be one of system, user, assistant, tool");
  }
  const Value* content = FindValue(message, "content");
  if (content != nullptr && !content->is_string()) return BadEntry(where + ".content", "must be a string");
  const List* images = FindList(message, "images");
  if (images != nullptr && !images->empty()) return BadEntry(where + ".images", "are beyond a model that reads text");
  const std::string text = content == nullptr ? "" : *content->text();
  if (*role == "tool") {
    const std::string* name = FindText(message, "tool_name");
    messages.push_back(ToolResult(ids.Take(name), text));
    return std::nullopt;
  }
  Dict result = MessageDict(*role, Value(text));
  if (const Value* thinking = FindValue(message, "thinking"); thinking != nullptr && *role == "assistant") {
    result.Set("reasoning_content", *thinking);
  }
  if (*role == "assistant") {
    if (auto error = AddCalls(message, where, ids, result)) return error;
  }
  messages.push_back(Value(std::move(result)));
  return std::nullopt;
}

std::optional<ApiError> ReadMessages(const Value& body, OllamaRequest& request) {
  const Value* value = FindValue(body, "messages");
  if (value != nullptr && value->list() == nullptr) return BadParam("messages", "'messages' must be a list");
  request.empty = value == nullptr || value->list()->empty();
  if (request.empty) return std::nullopt;
  if (value->list()->size() > kMessagesMax) {
    return BadParam("messages", absl::StrCat("'messages' has more than ", kMessagesMax, " entries"));
  }
  CallIds ids;
  for (size_t i = 0; i < value->list()->size(); ++i) {
    const std::string where = absl::StrCat("messages[", i, "]");
    if (auto error = AddMessage((*value->list())[i], where, ids, request.chat.messages)) return error;
  }
  const Value* tools = FindValue(body, "tools");
  if (tools != nullptr && !request.chat.tool_specs.empty()) request.chat.tools = *tools;
  return std::nullopt;
}

}  // namespace

std::string OllamaModelName(std::string name) {
  constexpr absl::string_view kLatest = ":latest";
  if (absl::EndsWith(name, kLatest)) name.resize(name.size() - kLatest.size());
  return name;
}

std::optional<ApiError> ReadOllamaChat(const Json& body, std::string_view text, OllamaRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadCommon(fields, request);
  ReadTools(fields, request.chat);
  if (!fields.ok()) return fields.error();
  const absl::StatusOr<Value> ordered = jinja::ParseJson(text);
  if (!ordered.ok()) return FromStatus(ordered.status());
  return ReadMessages(*ordered, request);
}

std::optional<ApiError> ReadOllamaGenerate(const Json& body, std::string_view, OllamaRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadCommon(fields, request);
  request.raw = fields.Bool("raw", false);
  request.prompt = fields.String("prompt", "");
  const std::string system = fields.String("system", "");
  request.suffix = fields.String("suffix", "");
  for (const char* name : {"template", "images", "context"}) {
    const Json* value = fields.Find(name);
    const bool nothing = value == nullptr || *value == "" || (value->is_structured() && value->empty());
    if (!nothing) fields.Fail(name, "is not supported by this server");
  }
  if (request.raw && !system.empty()) fields.Fail("system", "cannot go with raw: true");
  if (!request.suffix.empty()) {
    if (request.raw) fields.Fail("suffix", "cannot go with raw: true");
    if (!system.empty()) fields.Fail("system", "cannot go with suffix");
  }
  request.empty = request.prompt.empty() && request.suffix.empty();
  if (!system.empty()) request.chat.messages.push_back(Value(MessageDict("system", Value(system))));
  request.chat.messages.push_back(Value(MessageDict("user", Value(request.prompt))));
  return fields.error();
}

}  // namespace barn
