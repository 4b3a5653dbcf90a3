#include "coordinator/http/native/native_request.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/adapter_fields.h"
#include "coordinator/http/openai_fields.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/sampling_fields.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// Each of these would change the answer.
constexpr absl::string_view kNotSupported[] = {"n_indent", "t_max_predict_ms", "image_data", "n_discard"};

void ReadForm(Fields& fields, AnswerForm& form) {
  ReadAnswerForm(fields, form);
  if (fields.Find("json_schema") == nullptr) return;
  if (!form.field.empty()) return fields.Fail("json_schema", absl::StrCat("cannot be combined with ", form.field));
  form.field = "json_schema";
  form.schema_path = {"json_schema"};
}

void ReadLength(Fields& fields, SharedFields& shared) {
  const absl::string_view name = fields.Find("n_predict") == nullptr ? "max_tokens" : "n_predict";
  // -1: without end; -2: until the context is full. An answer never gets more than the context here.
  const int64_t count = fields.Integer(name, -1, -2, kMaxTokensMax);
  if (count >= 0) shared.max_tokens = count;
}

void ReadNativeShared(Fields& fields, SharedFields& shared) {
  for (const absl::string_view name : kNotSupported) {
    const Json* value = fields.Find(name);
    if (value != nullptr && *value != 0 && !(value->is_structured() && value->empty())) {
      fields.Fail(name, "is not supported by this server");
    }
  }
  shared.model = fields.String("model", "");
  shared.sampling.temperature = 0.8;
  shared.sampling.top_k = 40;
  shared.sampling.top_p = 0.95;
  shared.sampling.min_p = 0.05;
  ReadSampling(fields, shared.sampling);
  shared.lora = ReadLora(fields);
  ReadForm(fields, shared.form);
  if (const Json* stop = fields.Find("stop"); stop != nullptr) ReadStopList(fields, "stop", *stop, shared.stop);
  ReadLength(fields, shared);
  shared.stream = fields.Bool("stream", false);
  shared.ignore_eos = fields.Bool("ignore_eos", false);
  if (shared.ignore_eos && !shared.form.field.empty()) {
    fields.Fail("ignore_eos", absl::StrCat("cannot be combined with ", shared.form.field));
  }
  shared.top_logprobs = static_cast<int>(fields.Integer("n_probs", 0, 0, kTopLogprobsMax));
  shared.logprobs = shared.top_logprobs > 0;
  if (fields.Find("timeout") != nullptr) {
    shared.timeout = absl::Seconds(fields.Number("timeout", 0, 0.001, kTimeoutSecondsMax));
  }
}

void ReadPrompt(Fields& fields, NativeRequest& request) {
  const Json* value = fields.Find("prompt");
  if (value == nullptr) return fields.Fail("prompt", "is required");
  if (value->is_string()) {
    request.prompt = value->get<std::string>();
    return;
  }
  if (!value->is_array() || value->empty()) return fields.Fail("prompt", "must be a text or a list of token ids");
  std::vector<int32_t> ids;
  for (const Json& entry : *value) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      return fields.Fail("prompt", absl::StrCat("holds ", entry.is_number() ? entry.dump() : entry.type_name(),
                                                " where a token id is due"));
    }
    ids.push_back(entry.get<int32_t>());
  }
  request.prompt = std::move(ids);
}

void ReadFiles(Fields& fields, std::vector<InfillFile>& files) {
  const Json* list = fields.Find("input_extra");
  if (list == nullptr) return;
  if (!list->is_array()) return fields.Fail("input_extra", "must be a list of {\"filename\", \"text\"}");
  if (list->size() > kInfillFilesMax) {
    return fields.Fail("input_extra",
                       absl::StrCat("has ", list->size(), " entries, at most ", kInfillFilesMax, " are allowed"));
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string name = absl::StrCat("input_extra[", i, "]");
    if (!(*list)[i].is_object()) return fields.Fail(name, "must be an object");
    Fields entry((*list)[i], absl::StrCat(name, "."));
    files.push_back({.name = entry.String("filename", "tmp"), .text = entry.String("text", "")});
    if (!entry.ok()) return fields.Fail(*entry.error());
  }
}

}  // namespace

std::optional<ApiError> ReadNativeCompletion(const Json& body, NativeRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadPrompt(fields, request);
  ReadNativeShared(fields, request.shared);
  return fields.error();
}

std::optional<ApiError> ReadNativeInfill(const Json& body, NativeRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  for (const char* name : {"input_prefix", "input_suffix"}) {
    if (fields.Find(name) == nullptr) fields.Fail(name, "is required");
  }
  request.infill.before = fields.String("input_prefix", "");
  request.infill.after = fields.String("input_suffix", "");
  request.infill.begun = fields.String("prompt", "");
  ReadFiles(fields, request.infill.others);
  ReadNativeShared(fields, request.shared);
  return fields.error();
}

}  // namespace barn
