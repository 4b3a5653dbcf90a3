#include "coordinator/http/chat_job.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/call_constraint.h"
#include "coordinator/text/chat_format.h"
#include "coordinator/text/tools/thought_limit.h"

namespace barn {
namespace {

using jinja::Dict;
using jinja::Value;

// The variables that templates read the wish to reason from. What the client has set itself stays.
Dict TemplateInputs(const ChatRequest& request) {
  Dict inputs = request.template_inputs;
  if (!request.reasoning_effort.has_value()) return inputs;
  const auto set = [&inputs](std::string_view name, Value value) {
    if (inputs.Find(name) == nullptr) inputs.Set(name, std::move(value));
  };
  const std::string& effort = *request.reasoning_effort;
  const bool reasons = effort != "none";
  set("enable_thinking", Value(reasons));
  set("thinking", Value(reasons));
  // Templates know three levels.
  const bool high = effort == "xhigh" || effort == "max";
  if (reasons) set("reasoning_effort", Value(high ? "high" : effort == "minimal" ? "low" : effort));
  return inputs;
}

std::vector<ChatMessage> PlainMessages(const jinja::List& messages) {
  std::vector<ChatMessage> plain;
  for (const Value& message : messages) {
    const Value* role = message.dict() == nullptr ? nullptr : message.dict()->Find("role");
    const Value* content = message.dict() == nullptr ? nullptr : message.dict()->Find("content");
    plain.push_back({.role = role != nullptr && role->is_string() ? *role->text() : "",
                     .content = content == nullptr ? "" : ContentText(*content)});
  }
  return plain;
}

bool AboutTools(const Value& message) {
  if (message.dict() == nullptr) return false;
  const Value* calls = message.dict()->Find("tool_calls");
  const Value* role = message.dict()->Find("role");
  return (calls != nullptr && calls->list() != nullptr && !calls->list()->empty()) ||
         (role != nullptr && role->is_string() && *role->text() == "tool");
}

// Tools are told to the model by its template or not at all, so what the template does not know is refused.
std::optional<ApiError> CheckTools(const ServedModel& model, const ChatRequest& request) {
  const ChatTemplate* own = model.chat_template.get();
  ApiError error;
  if (!request.tool_specs.empty() && (own == nullptr || !own->knows_tools())) {
    error = BadParam("tools", absl::StrCat("the model '", model.id,
                                           "' does not support tools: its chat template does not mention them"));
    error.code = "tools_not_supported";
    return error;
  }
  for (size_t i = 0; i < request.messages.size(); ++i) {
    if (!AboutTools(request.messages[i]) || (own != nullptr && own->knows_calls())) continue;
    error = BadParam(absl::StrCat("messages[", i, "]"),
                     absl::StrCat("messages[", i, "] is about tools, which the chat template of the model '", model.id,
                                  "' does not support"));
    error.code = "tools_not_supported";
    return error;
  }
  return std::nullopt;
}

bool EndsInside(std::string_view prompt, const std::string& think_begin) {
  const size_t last = prompt.find_last_not_of(" \n");
  if (think_begin.empty() || last == prompt.npos) return false;
  prompt = prompt.substr(0, last + 1);
  return prompt.size() >= think_begin.size() && prompt.substr(prompt.size() - think_begin.size()) == think_begin;
}

// Drops what the template puts behind the last message. Templates trim contents.
bool CutBehindLastMessage(const Value& message, std::string& prompt) {
  const Value* content = message.dict() == nullptr ? nullptr : message.dict()->Find("content");
  std::string text = content == nullptr ? "" : ContentText(*content);
  constexpr char kSpace[] = " \t\r\n";
  text.erase(text.find_last_not_of(kSpace) + 1);
  text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
  const size_t at = text.empty() ? prompt.npos : prompt.rfind(text);
  if (at == prompt.npos) return false;
  prompt.erase(at + text.size());
  return true;
}

}  // namespace

std::variant<ApiError, ChatPrompt> RenderChat(const ServedModel& model, const ChatRequest& request) {
  if (!model.chat_template_error.empty()) {
    return BadParam("messages", absl::StrCat("the model's chat template cannot be used: ", model.chat_template_error,
                                             "; --chat-template FILE replaces it"));
  }
  if (auto error = CheckTools(model, request)) return *error;
  ChatPrompt prompt;
  absl::StatusOr<std::vector<int32_t>> ids;
  if (model.chat_template == nullptr) {
    prompt.text = RenderPlainChat(PlainMessages(request.messages));
    if (request.continue_final_message) CutBehindLastMessage(request.messages.back(), prompt.text);
    ids = model.tokenizer.Encode(prompt.text);
  } else {
    const bool without = request.tool_choice.kind == ToolChoice::Kind::kNone;
    absl::StatusOr<std::string> text = model.chat_template->Render(
        {.messages = request.messages,
         .tools = without ? Value(jinja::None{}) : request.tools,
         .extra = TemplateInputs(request),
         .add_generation_prompt = request.add_generation_prompt && !request.continue_final_message,
         .now = absl::Now()});
    if (!text.ok()) return BadParam("messages", text.status().message());
    prompt.text = *std::move(text);
    if (request.continue_final_message && !CutBehindLastMessage(request.messages.back(), prompt.text)) {
      return BadParam("messages", "the chat template does not render the last message so that it could be continued");
    }
    prompt.in_reasoning = EndsInside(prompt.text, model.chat_template->format().think_begin);
    ids = model.chat_template->Encode(prompt.text);
  }
  if (!ids.ok()) return BadParam("messages", ids.status().message());
  prompt.ids = *std::move(ids);
  return prompt;
}

namespace {

// How long the answer may think. A prompt that has begun to think and may not goes on behind its thoughts at once.
std::variant<ApiError, std::shared_ptr<const ThoughtLimit>> LimitThoughts(const ServedModel& model,
                                                                          const ChatRequest& request,
                                                                          ChatPrompt& prompt) {
  const int64_t tokens = request.thought_tokens.value_or(model.reasoning.tokens);
  if (tokens < 0 || model.chat_template == nullptr) return nullptr;
  absl::StatusOr<std::shared_ptr<const ThoughtLimit>> limit =
      MakeThoughtLimit(model.chat_template->format(), model.tokenizer, prompt.in_reasoning, tokens,
                       tokens == 0 ? "" : model.reasoning.message);
  if (!limit.ok()) return FromStatus(limit.status());
  if (*limit == nullptr || tokens > 0 || !prompt.in_reasoning) return *std::move(limit);
  prompt.ids.insert(prompt.ids.end(), (*limit)->closing.begin(), (*limit)->closing.end());
  prompt.in_reasoning = false;
  return nullptr;
}

}  // namespace

std::variant<ApiError, PreparedChat> PrepareChat(const ServedModel& model, const EngineState& engine,
                                                 const ChatRequest& request) {
  const SharedFields& shared = request.shared;
  if (auto error = CheckShared(model, shared)) return *error;
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  std::variant<ApiError, ChatPrompt> rendered = RenderChat(model, request);
  if (std::holds_alternative<ApiError>(rendered)) return std::get<ApiError>(std::move(rendered));
  ChatPrompt& prompt = std::get<ChatPrompt>(rendered);
  auto thoughts = LimitThoughts(model, request, prompt);
  if (std::holds_alternative<ApiError>(thoughts)) return std::get<ApiError>(std::move(thoughts));
  // Without a limit of the client, an answer has a quarter of the context at least.
  const int64_t room = std::min(shared.max_tokens.value_or(context_tokens / 4), context_tokens);
  if (shared.truncate) Truncate(model, context_tokens - room, prompt.ids);
  PreparedChat chat;
  chat.prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const int64_t max_tokens = shared.max_tokens.value_or(std::max<int64_t>(1, context_tokens - chat.prompt_tokens));
  if (auto error = CheckFits("messages", chat.prompt_tokens, max_tokens, context_tokens)) return *error;
  GenerateRequest one = EngineRequest(model, shared, std::move(prompt.ids), max_tokens);
  one.thoughts = std::get<1>(std::move(thoughts));
  if (auto error = HoldToCalls(model, request, prompt.in_reasoning, one.constraint)) return *error;
  if (!one.constraint) {
    if (auto error = HoldToForm(model, shared, one)) return *error;
  }
  AddChoices(shared, one, chat.requests);
  if (model.chat_template != nullptr) chat.shape.format = &model.chat_template->format();
  if (request.tool_choice.kind != ToolChoice::Kind::kNone) chat.shape.parser.tools = request.tool_specs;
  chat.shape.parser.one_call = !request.parallel_tool_calls;
  chat.shape.parser.in_reasoning = prompt.in_reasoning;
  chat.shape.stop = shared.stop;
  return chat;
}

}  // namespace barn
