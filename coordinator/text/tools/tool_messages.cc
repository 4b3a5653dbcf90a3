#include "coordinator/text/tools/tool_messages.h"

#include <cstdint>
#include <string>
#include <utility>

#include "coordinator/text/jinja/json_value.h"

namespace barn {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::None;
using jinja::Value;

constexpr std::string_view kProbeTool = "barn_probe";
constexpr std::string_view kProbeValue = "barn_value";
constexpr size_t kShortIdBytes = 9;

Value Entry(std::string_view key, Value value) {
  Dict dict;
  dict.Set(key, std::move(value));
  return Value(std::move(dict));
}

Value Message(std::string_view role, Value content) {
  Dict message;
  message.Set("role", Value(role));
  message.Set("content", std::move(content));
  return Value(std::move(message));
}

Value ProbeTool() {
  Dict function, parameters, tool;
  parameters.Set("type", Value("object"));
  parameters.Set("properties", Entry("word", Entry("type", Value("string"))));
  function.Set("name", Value(kProbeTool));
  function.Set("description", Value("probe"));
  function.Set("parameters", Value(std::move(parameters)));
  tool.Set("type", Value("function"));
  tool.Set("function", Value(std::move(function)));
  return Value(List{Value(std::move(tool))});
}

Value ProbeCall() {
  Dict function, call, message;
  function.Set("name", Value(kProbeTool));
  function.Set("arguments", Value(std::string("{\"word\": \"") + std::string(kProbeValue) + "\"}"));
  call.Set("id", Value("123456789"));
  call.Set("type", Value("function"));
  call.Set("function", Value(std::move(function)));
  message.Set("role", Value("assistant"));
  message.Set("content", Value(None{}));
  message.Set("tool_calls", Value(List{Value(std::move(call))}));
  return Value(std::move(message));
}

bool Renders(const ChatRenderer& render, const List& messages, const Value& tools, std::string_view part) {
  const absl::StatusOr<std::string> text = render(messages, tools);
  return text.ok() && text->find(part) != text->npos;
}

// Not secret: the same id gives the same short one, so that a result still belongs to its call.
std::string ShortId(const std::string& id) {
  if (id.size() == kShortIdBytes &&
      id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == id.npos) {
    return id;
  }
  uint64_t hash = 14695981039346656037u;  // FNV-1a.
  for (const char byte : id) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211u;
  std::string text;
  for (size_t i = 0; i < kShortIdBytes; ++i, hash /= 36) text += "0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36];
  return text;
}

Value ShapeId(const Value& id, const ToolForm& form) {
  return form.short_ids && id.is_string() ? Value(ShortId(*id.text())) : id;
}

Value ShapeArguments(const Value& arguments, const ToolForm& form) {
  if (form.text_arguments && arguments.is_dict()) {
    std::string text;
    return jinja::AppendJson(arguments, {}, size_t{64} << 20, text).ok() ? Value(std::move(text)) : arguments;
  }
  if (!form.text_arguments && arguments.is_string()) {
    absl::StatusOr<Value> parsed = jinja::ParseJson(*arguments.text());
    if (parsed.ok() && parsed->is_dict()) return *std::move(parsed);
  }
  return arguments;
}

Value ShapeCall(const Value& call, const ToolForm& form) {
  if (call.dict() == nullptr) return call;
  Dict result;
  for (const auto& [key, value] : call.dict()->entries()) {
    if (key != "function" || value.dict() == nullptr) {
      result.Set(key, key == "id" ? ShapeId(value, form) : value);
      continue;
    }
    Dict function;
    for (const auto& [name, part] : value.dict()->entries()) {
      function.Set(name, name == "arguments" ? ShapeArguments(part, form) : part);
    }
    result.Set(key, Value(std::move(function)));
  }
  return Value(std::move(result));
}

bool Says(const Value* content) { return content != nullptr && !content->is_none() && content->Truth(); }

}  // namespace

Value ShapeMessage(const Value& message, const ToolForm& form) {
  if (message.dict() == nullptr) return message;
  const Value* calls = message.dict()->Find("tool_calls");
  const bool calling = calls != nullptr && calls->list() != nullptr && !calls->list()->empty();
  const Value* content = message.dict()->Find("content");
  Dict result;
  for (const auto& [key, value] : message.dict()->entries()) {
    if (key == "tool_calls") {
      if (!calling) continue;  // Some templates take an empty list for a call.
      List shaped;
      for (const Value& call : *calls->list()) shaped.push_back(ShapeCall(call, form));
      result.Set(key, Value(std::move(shaped)));
    } else if (key == "tool_call_id") {
      result.Set(key, ShapeId(value, form));
    } else if (key == "reasoning_content" || key == "reasoning") {
      // A template that has its own name for it takes it, or the content, never both.
      if (!form.thinking) result.Set("reasoning_content", value);
      if (form.thinking && !Says(content)) result.Set("thinking", value);
    } else {
      result.Set(key, value);
    }
  }
  if (calling && !Says(content)) result.Set("content", form.null_content ? Value(None{}) : Value(""));
  return Value(std::move(result));
}

ToolForm DetectToolForm(std::string_view source, const ChatRenderer& render) {
  ToolForm form;
  form.short_ids = source.find("length 9") != source.npos;
  form.thinking = source.find("message.thinking") != source.npos;
  const Value user = Message("user", Value("Hello"));
  form.renders_tools = Renders(render, {user}, ProbeTool(), kProbeTool);
  for (const bool text_arguments : {false, true}) {
    for (const bool null_content : {false, true}) {
      form.text_arguments = text_arguments;
      form.null_content = null_content;
      Dict result;
      result.Set("role", Value("tool"));
      result.Set("content", Value("sunny"));
      result.Set("tool_call_id", Value("123456789"));
      const List messages = {user, ShapeMessage(ProbeCall(), form), Value(std::move(result))};
      // An object that JSON text went into twice would show as \"word\".
      for (const std::string_view part : {"\"word\": \"barn_value\"", "<arg_value>barn_value"}) {
        form.renders_calls = form.renders_calls || Renders(render, messages, Value(None{}), part);
      }
      if (form.renders_calls) return form;
    }
  }
  form.text_arguments = form.null_content = false;
  return form;
}

}  // namespace barn
