#include "coordinator/http/openai_request.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/http/openai_fields.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Prompt = std::variant<std::string, std::vector<int32_t>>;

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

}  // namespace

ApiError NotAnObject(const Json& body) {
  ApiError error;
  error.message = absl::StrCat("the body must be a JSON object, not ", body.type_name());
  return error;
}

std::optional<ApiError> ReadCompletionRequest(const Json& body, CompletionRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  SharedFields& shared = request.shared;
  ReadPrompts(fields, request.prompts);
  ReadShared(fields, shared);
  shared.max_tokens = fields.OptionalInteger("max_tokens", 0, kMaxTokensMax);
  request.echo = fields.Bool("echo", false);
  request.suffix = fields.String("suffix", "");
  if (!request.suffix.empty() && request.echo) fields.Fail("echo", "cannot be combined with suffix");
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

}  // namespace barn
