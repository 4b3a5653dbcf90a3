#include "coordinator/http/openai_fields.h"

#include "absl/strings/str_cat.h"
#include "coordinator/http/adapter_fields.h"
#include "coordinator/http/sampling_fields.h"

namespace barn {
namespace {

// Each of these would change the answer, so ignoring it would mislead.
constexpr absl::string_view kNotSupported[] = {
    "functions",      "json_schema",        "guided_json", "guided_regex", "guided_choice",
    "guided_grammar", "structured_outputs", "audio",       "prediction",   "min_tokens",
};

// Clients send some of these with every request, set to what asks for nothing.
bool AsksForNothing(const nlohmann::json& value) {
  return value == "" || value == "none" || value == false || value == 0 || (value.is_structured() && value.empty());
}

void RefuseUnsupported(Fields& fields) {
  for (const absl::string_view name : kNotSupported) {
    const nlohmann::json* value = fields.Find(name);
    if (value != nullptr && !AsksForNothing(*value)) fields.Fail(name, "is not supported by this server yet");
  }
}

void ReadStop(Fields& fields, std::vector<std::string>& stop) {
  const nlohmann::json* value = fields.Find("stop");
  if (value != nullptr) ReadStopList(fields, "stop", *value, stop);
}

void ReadStream(Fields& fields, SharedFields& shared) {
  shared.stream = fields.Bool("stream", false);
  const nlohmann::json* value = fields.Find("stream_options");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Fail("stream_options", "must be an object");
  if (!shared.stream) return fields.Fail("stream_options", "is only allowed with stream: true");
  Fields options(*value, "stream_options.");
  shared.include_usage = options.Bool("include_usage", false);
  if (!options.ok()) fields.Fail(*options.error());
}

}  // namespace

void ReadStopList(Fields& fields, absl::string_view name, const nlohmann::json& value, std::vector<std::string>& stop) {
  const nlohmann::json list = value.is_string() ? nlohmann::json::array({value}) : value;
  if (!list.is_array()) return fields.Fail(name, "must be a string or a list of strings");
  if (list.size() > kStopsMax) {
    return fields.Fail(name, absl::StrCat("has ", list.size(), " entries, at most ", kStopsMax, " are allowed"));
  }
  for (const nlohmann::json& entry : list) {
    if (!entry.is_string()) return fields.Fail(name, "must be a string or a list of strings");
    const auto& text = entry.get_ref<const std::string&>();
    if (text.empty()) return fields.Fail(name, "has an empty entry");
    if (text.size() > kStopBytesMax) {
      return fields.Fail(name, absl::StrCat("has an entry of ", text.size(), " bytes, at most ", kStopBytesMax));
    }
    stop.push_back(text);
  }
}

void ReadShared(Fields& fields, SharedFields& shared) {
  shared.model = fields.String("model", "");
  RefuseUnsupported(fields);
  shared.lora = ReadLora(fields);
  ReadAnswerForm(fields, shared.form);
  ReadSampling(fields, shared.sampling);
  ReadStop(fields, shared.stop);
  ReadStream(fields, shared);
  shared.n = fields.Integer("n", 1, 1, kChoicesMax);
  shared.ignore_eos = fields.Bool("ignore_eos", false);
  if (shared.ignore_eos && !shared.form.field.empty()) {
    fields.Fail("ignore_eos", absl::StrCat("cannot be combined with ", shared.form.field));
  }
  shared.truncate = fields.Bool("truncate", false);
  if (fields.Find("timeout") != nullptr) {
    shared.timeout = absl::Seconds(fields.Number("timeout", 0, 0.001, kTimeoutSecondsMax));
  }
}

}  // namespace barn
