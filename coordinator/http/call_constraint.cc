#include "coordinator/http/call_constraint.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/http/ordered_json.h"
#include "coordinator/text/jinja/json_value.h"
#include "coordinator/text/tools/call_grammar.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using jinja::Dict;
using jinja::Value;

constexpr char kAnyObject[] = R"({"type": "object"})";
constexpr char kNoArguments[] = R"({"type": "object", "properties": {}, "additionalProperties": false})";
constexpr size_t kSchemaBytesMax = size_t{1} << 20;

bool Forces(const ToolChoice& choice) {
  return choice.kind == ToolChoice::Kind::kRequired || choice.kind == ToolChoice::Kind::kNamed;
}

// The entry of the function that a tool is; null if there is none.
const Value* FunctionEntry(const Value& tool, std::string_view key) {
  const Value* function = FindValue(tool, "function");
  return function == nullptr ? nullptr : FindValue(*function, key);
}

// The schema of a tool's arguments, with its properties in the client's order. Arguments are an object whatever it
// says.
absl::StatusOr<std::string> ArgumentsSchema(const Value& tool) {
  const Value* parameters = FunctionEntry(tool, "parameters");
  if (parameters == nullptr || parameters->dict() == nullptr) return kNoArguments;
  Dict schema = *parameters->dict();
  schema.Set("type", Value("object"));
  std::string text;
  BARN_RETURN_IF_ERROR(jinja::AppendJson(Value(std::move(schema)), {}, kSchemaBytesMax, text));
  return text;
}

struct Callable {
  std::vector<CallableTool> tools;  // Those that tool_choice allows.
  std::vector<CallableTool> loose;  // The same, but only strict ones keep their schemas.
  bool strict = false;              // One of them is.
};

std::optional<ApiError> FindCallable(const ChatRequest& request, Callable& callable) {
  for (size_t i = 0; i < request.tool_specs.size(); ++i) {
    const std::string& name = request.tool_specs[i].name;
    if (!request.tool_choice.name.empty() && name != request.tool_choice.name) continue;
    const Value& tool = (*request.tools.list())[i];
    const Value* strict = FunctionEntry(tool, "strict");
    if (strict != nullptr && !strict->is_bool()) {
      return BadParam(absl::StrCat("tools[", i, "]"),
                      absl::StrCat("'tools[", i, "]' has a 'strict' that is not true or false"));
    }
    absl::StatusOr<std::string> schema = ArgumentsSchema(tool);
    if (!schema.ok()) return BadParam(absl::StrCat("tools[", i, "]"), schema.status().message());
    const bool keeps = strict != nullptr && strict->Truth();
    callable.strict = callable.strict || keeps;
    callable.loose.push_back({.name = name, .schema = keeps ? *schema : kAnyObject});
    callable.tools.push_back({.name = name, .schema = *std::move(schema)});
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> HoldToCalls(const ServedModel& model, const ChatRequest& request, bool in_reasoning,
                                    grammar::Constraint& constraint) {
  const AnswerForm& form = request.shared.form;
  const bool may_call = !request.tool_specs.empty() && request.tool_choice.kind != ToolChoice::Kind::kNone;
  Callable callable;
  if (may_call) {
    if (auto error = FindCallable(request, callable)) return error;
  }
  const bool forced = may_call && Forces(request.tool_choice);
  const bool reasons = model.chat_template != nullptr && model.chat_template->format().reasons();
  const bool answers = !forced && form.source.schemas.size() == 1 && (may_call || reasons);
  if (!forced && !answers && (!callable.strict || !form.field.empty())) return std::nullopt;
  if (request.shared.ignore_eos) {
    return BadParam("ignore_eos", "'ignore_eos' cannot be combined with calls that have a form");
  }
  CallGrammarOptions options = {.must_call = forced || answers,
                                .several = request.parallel_tool_calls && request.tool_choice.name.empty(),
                                .in_reasoning = in_reasoning,
                                .may_reason = request.reasoning_effort != "none"};
  if (answers) options.answer_schema = form.source.schemas.front().second;
  const AnswerFormat& format = model.chat_template->format();
  const std::optional<grammar::Source> source =
      CallGrammar(format, model.tokenizer, forced ? callable.tools : callable.loose, options);
  if (!source.has_value()) {
    if (!forced) return std::nullopt;
    return BadParam("tool_choice", absl::StrCat("'tool_choice' cannot force a call: the chat template of the model '",
                                                model.id, "' shows no form of calls that this server knows"));
  }
  absl::StatusOr<grammar::Constraint> compiled = model.grammars->Get(*source);
  // Only what is strict must be kept to the letter.
  if (!compiled.ok() && forced) {
    compiled = model.grammars->Get(*CallGrammar(format, model.tokenizer, callable.loose, options));
  }
  if (!compiled.ok()) {
    const bool of_form = absl::StartsWith(compiled.status().message(), "answer:");
    const std::string field = of_form ? form.field : "tools";
    return BadParam(field, absl::StrCat("'", field, "': ", compiled.status().message()));
  }
  constraint = *std::move(compiled);
  return std::nullopt;
}

}  // namespace barn
