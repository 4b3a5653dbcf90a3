#include "coordinator/text/tools/call_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/json_value.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using Calls = std::vector<ToolCall>;
using jinja::Value;

constexpr size_t kArgumentBytesMax = size_t{64} << 20;

absl::Status Malformed(const std::string& what) { return absl::InvalidArgumentError(absl::StrCat("a call ", what)); }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

absl::StatusOr<std::string> ObjectText(const Value& value) {
  if (!value.is_dict()) return Malformed("has arguments that are not an object");
  std::string text;
  BARN_RETURN_IF_ERROR(jinja::AppendJson(value, {}, kArgumentBytesMax, text));
  return text;
}

// {"name": ..., "arguments": {...}} in its many spellings.
absl::StatusOr<ToolCall> FromObject(const Value& value) {
  const jinja::Dict* entries = value.dict();
  if (entries == nullptr) return Malformed("is not an object");
  if (const Value* inner = entries->Find("function"); inner != nullptr && inner->is_dict()) entries = inner->dict();
  ToolCall call;
  for (const char* key : {"name", "tool_name", "function"}) {
    const Value* name = entries->Find(key);
    if (name != nullptr && name->is_string() && call.name.empty()) call.name = *name->text();
  }
  if (call.name.empty()) return Malformed("has no name");
  call.arguments = "{}";
  for (const char* key : {"arguments", "parameters"}) {
    const Value* given = entries->Find(key);
    if (given == nullptr || given->is_none()) continue;
    if (given->is_string()) {
      BARN_ASSIGN_OR_RETURN(call.arguments, ReadArguments(*given->text()));
    } else {
      BARN_ASSIGN_OR_RETURN(call.arguments, ObjectText(*given));
    }
    break;
  }
  return call;
}

absl::StatusOr<Calls> FromJson(std::string_view text) {
  BARN_ASSIGN_OR_RETURN(const Value value, jinja::ParseJson(text));
  Calls calls;
  if (value.list() == nullptr) {
    BARN_ASSIGN_OR_RETURN(ToolCall call, FromObject(value));
    calls.push_back(std::move(call));
    return calls;
  }
  for (const Value& entry : *value.list()) {
    BARN_ASSIGN_OR_RETURN(ToolCall call, FromObject(entry));
    calls.push_back(std::move(call));
  }
  return calls;
}

// The bytes of the JSON object or list that `text` begins with; npos if it does not end.
size_t JsonBytes(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char byte = text[at];
    if (quoted) {
      if (byte == '\\') ++at;
      if (byte == '"') quoted = false;
    } else if (byte == '"') {
      quoted = true;
    } else if (byte == '{' || byte == '[') {
      ++depth;
    } else if ((byte == '}' || byte == ']') && --depth == 0) {
      return at + 1;
    }
  }
  return text.npos;
}

absl::StatusOr<Calls> Named(std::string_view name, std::string_view arguments) {
  BARN_ASSIGN_OR_RETURN(std::string text, ReadArguments(Trim(arguments).empty() ? "{}" : arguments));
  return Calls{{.name = std::string(Trim(name)), .arguments = std::move(text)}};
}

// A value that a family writes without JSON's quotes.
Value BareValue(std::string_view text, bool is_text) {
  if (!is_text) {
    absl::StatusOr<Value> parsed = jinja::ParseJson(text);
    if (parsed.ok()) return *std::move(parsed);
  }
  return Value(text);
}

// What stands between `begin` and `end` at the start of `text`, which moves behind it.
std::optional<std::string_view> Take(std::string_view& text, std::string_view begin, std::string_view end) {
  const std::string_view rest = Trim(text);
  if (rest.substr(0, begin.size()) != begin) return std::nullopt;
  const size_t stop = rest.find(end, begin.size());
  if (stop == rest.npos) return std::nullopt;
  text = rest.substr(stop + end.size());
  return rest.substr(begin.size(), stop - begin.size());
}

bool IsText(const std::vector<ToolSpec>& tools, std::string_view name, const std::string& parameter) {
  const ToolSpec* tool = FindTool(tools, name);
  return tool != nullptr && tool->text_parameters.contains(parameter);
}

// name <arg_key>k</arg_key> <arg_value>v</arg_value> ...
absl::StatusOr<Calls> FromPairs(std::string_view body, const std::vector<ToolSpec>& tools) {
  const std::string name(Trim(body.substr(0, body.find('<'))));
  std::string_view rest = body.find('<') == body.npos ? "" : body.substr(body.find('<'));
  jinja::Dict arguments;
  while (!Trim(rest).empty()) {
    const auto key = Take(rest, "<arg_key>", "</arg_key>");
    const auto value = key.has_value() ? Take(rest, "<arg_value>", "</arg_value>") : std::nullopt;
    if (!value.has_value()) return Malformed("breaks off between its arguments");
    const std::string parameter(Trim(*key));
    arguments.Set(parameter, BareValue(*value, IsText(tools, name, parameter)));
  }
  BARN_ASSIGN_OR_RETURN(std::string text, ObjectText(Value(std::move(arguments))));
  return Calls{{.name = name, .arguments = std::move(text)}};
}

// <function=name> <parameter=k> v </parameter> ... </function>
absl::StatusOr<Calls> FromParameters(std::string_view body, const std::vector<ToolSpec>& tools) {
  const auto name = Take(body, "<function=", ">");
  if (!name.has_value()) return Malformed("has no name");
  jinja::Dict arguments;
  while (!Trim(body).empty() && Trim(body) != "</function>") {
    const auto key = Take(body, "<parameter=", ">");
    const size_t stop = body.find("</parameter>");
    if (!key.has_value() || stop == body.npos) return Malformed("breaks off between its arguments");
    std::string_view value = body.substr(0, stop);
    // The format puts a line break on both sides.
    if (!value.empty() && value.front() == '\n') value.remove_prefix(1);
    if (!value.empty() && value.back() == '\n') value.remove_suffix(1);
    body.remove_prefix(stop + std::string_view("</parameter>").size());
    const std::string parameter(*key);
    arguments.Set(parameter, BareValue(value, IsText(tools, *name, parameter)));
  }
  BARN_ASSIGN_OR_RETURN(std::string text, ObjectText(Value(std::move(arguments))));
  return Calls{{.name = std::string(*name), .arguments = std::move(text)}};
}

absl::StatusOr<Calls> ReadTagged(std::string_view body, const std::vector<ToolSpec>& tools) {
  if (!body.empty() && (body[0] == '{' || body[0] == '[')) return FromJson(body);
  return body.substr(0, 10) == "<function=" ? FromParameters(body, tools) : FromPairs(body, tools);
}

// name.call(key="value", ...), the form of Llama's own tools.
absl::StatusOr<Calls> FromPython(std::string_view body) {
  const size_t open = body.find(".call(");
  if (open == body.npos || body.back() != ')') return Malformed("is program text");
  std::string_view rest = body.substr(open + 6, body.size() - open - 7);
  jinja::Dict arguments;
  while (!Trim(rest).empty()) {
    rest = Trim(rest);
    const size_t equals = rest.find('=');
    if (equals == rest.npos || equals + 1 >= rest.size() || rest[equals + 1] != '"')
      return Malformed("has odd arguments");
    const std::string key(Trim(rest.substr(0, equals)));
    size_t end = equals + 2;
    while (end < rest.size() && rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
    if (end >= rest.size()) return Malformed("has a text without an end");
    BARN_ASSIGN_OR_RETURN(Value value, jinja::ParseJson(rest.substr(equals + 1, end - equals)));
    arguments.Set(key, std::move(value));
    rest = Trim(rest.substr(end + 1));
    if (!rest.empty() && rest[0] == ',') rest.remove_prefix(1);
  }
  BARN_ASSIGN_OR_RETURN(std::string text, ObjectText(Value(std::move(arguments))));
  return Calls{{.name = std::string(body.substr(0, open)), .arguments = std::move(text)}};
}

// One object, or several with ';' or white space between them.
absl::StatusOr<Calls> ReadLlama3(std::string_view body) {
  if (body.empty() || (body[0] != '{' && body[0] != '[')) return FromPython(body);
  Calls calls;
  for (std::string_view rest = body; !rest.empty();) {
    const size_t bytes = JsonBytes(rest);
    BARN_ASSIGN_OR_RETURN(Calls more, FromJson(rest.substr(0, bytes)));
    calls.insert(calls.end(), more.begin(), more.end());
    rest = bytes == rest.npos ? "" : Trim(rest.substr(bytes));
    if (!rest.empty() && rest[0] == ';') rest = Trim(rest.substr(1));
  }
  return calls;
}

// A JSON list, or name[CALL_ID]id[ARGS]{...}.
absl::StatusOr<Calls> ReadMistral(std::string_view body) {
  if (!body.empty() && (body[0] == '[' || body[0] == '{')) return FromJson(body);
  const size_t arguments = body.find("[ARGS]");
  const size_t brace = body.find('{');
  if (arguments == body.npos && brace == body.npos) return Malformed("has no arguments");
  const std::string_view head = body.substr(0, std::min(arguments, brace));
  return Named(head.substr(0, head.find("[CALL_ID]")), body.substr(arguments == body.npos ? brace : arguments + 6));
}

// name SEP {...}, or function SEP name ```json {...} ```.
absl::StatusOr<Calls> ReadDeepSeek(std::string_view body) {
  constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
  const size_t separator = body.find(kSeparator);
  if (separator == body.npos) return Malformed("has no arguments");
  const std::string_view rest = Trim(body.substr(separator + kSeparator.size()));
  constexpr std::string_view kFence = "```json";
  const size_t fence = rest.find(kFence);
  if (fence == rest.npos || rest[0] == '{') return Named(body.substr(0, separator), rest);
  std::string_view arguments = Trim(rest.substr(fence + kFence.size()));
  if (arguments.size() >= 3 && arguments.substr(arguments.size() - 3) == "```") arguments.remove_suffix(3);
  return Named(rest.substr(0, fence), arguments);
}

// functions.name:0 SEP {...}
absl::StatusOr<Calls> ReadKimi(std::string_view body) {
  constexpr std::string_view kSeparator = "<|tool_call_argument_begin|>";
  const size_t separator = body.find(kSeparator);
  if (separator == body.npos) return Malformed("has no arguments");
  std::string_view name = Trim(body.substr(0, separator));
  if (name.substr(0, 10) == "functions.") name.remove_prefix(10);
  return Named(name.substr(0, name.rfind(':')), body.substr(separator + kSeparator.size()));
}

absl::StatusOr<Calls> ReadHarmony(std::string_view body) {
  const size_t line = body.find('\n');
  if (line == body.npos) return Malformed("has no arguments");
  return Named(body.substr(0, line), body.substr(line + 1));
}

absl::StatusOr<Calls> Read(CallFamily family, std::string_view body, const std::vector<ToolSpec>& tools) {
  switch (family) {
    case CallFamily::kTagged:
      return ReadTagged(body, tools);
    case CallFamily::kLlama3:
      return ReadLlama3(body);
    case CallFamily::kMistral:
      return ReadMistral(body);
    case CallFamily::kDeepSeek:
      return ReadDeepSeek(body);
    case CallFamily::kKimi:
      return ReadKimi(body);
    case CallFamily::kCommandR:
      return FromJson(body);
    case CallFamily::kHarmony:
      return ReadHarmony(body);
    case CallFamily::kNone:
      break;
  }
  return Malformed("in a family that has none");
}

}  // namespace

absl::StatusOr<std::string> ReadArguments(std::string_view json) {
  BARN_ASSIGN_OR_RETURN(const Value value, jinja::ParseJson(json));
  return ObjectText(value);
}

const ToolSpec* FindTool(const std::vector<ToolSpec>& tools, std::string_view name) {
  for (const ToolSpec& tool : tools) {
    if (tool.name == name) return &tool;
  }
  return nullptr;
}

absl::StatusOr<std::vector<ToolCall>> ReadCalls(CallFamily family, std::string_view body,
                                                const std::vector<ToolSpec>& tools) {
  BARN_ASSIGN_OR_RETURN(Calls calls, Read(family, Trim(body), tools));
  if (calls.empty()) return Malformed("list is empty");
  for (const ToolCall& call : calls) {
    if (FindTool(tools, call.name) == nullptr) return Malformed(absl::StrCat("names the tool '", call.name, "'"));
  }
  return calls;
}

}  // namespace barn
