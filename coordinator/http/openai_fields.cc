#include "coordinator/http/openai_fields.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace barn {
namespace {

// Each of these would change the answer, so ignoring it would mislead.
constexpr absl::string_view kNotSupported[] = {
    "functions",          "grammar", "json_schema", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "structured_outputs", "audio",   "prediction",  "mirostat",    "min_tokens",   "suffix",
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
  const nlohmann::json* format = fields.Find("response_format");
  if (format == nullptr) return;
  if (!format->is_object()) return fields.Fail("response_format", "must be an object");
  if (format->value("type", nlohmann::json()) != "text") {
    fields.Fail("response_format", "may only be {\"type\": \"text\"} yet: this server does not constrain answers");
  }
}

void ReadStop(Fields& fields, std::vector<std::string>& stop) {
  const nlohmann::json* value = fields.Find("stop");
  if (value != nullptr) ReadStopList(fields, "stop", *value, stop);
}

void ReadLogitBias(Fields& fields, SamplingParams& sampling) {
  const nlohmann::json* value = fields.Find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Fail("logit_bias", "must be an object of token ids to numbers");
  if (value->size() > kLogitBiasEntriesMax) {
    return fields.Fail("logit_bias", absl::StrCat("has ", value->size(), " entries, at most ", kLogitBiasEntriesMax));
  }
  for (const auto& [key, bias] : value->items()) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0) {
      return fields.Fail("logit_bias", absl::StrCat("has the key '", key.substr(0, 40), "', which is no token id"));
    }
    if (!bias.is_number()) return fields.Fail("logit_bias", absl::StrCat("of token ", id, " must be a number"));
    const double number = bias.get<double>();
    if (!(number >= -100 && number <= 100)) {
      return fields.Fail("logit_bias", absl::StrCat("of token ", id, " is ", number, ", must be from -100 to 100"));
    }
    sampling.logit_bias.emplace_back(id, static_cast<float>(number));
  }
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

void ReadSampling(Fields& fields, SamplingParams& sampling) {
  sampling.temperature = static_cast<float>(fields.Number("temperature", 1, 0, 2));
  sampling.top_p = static_cast<float>(fields.Number("top_p", 1, 0, 1));
  sampling.min_p = static_cast<float>(fields.Number("min_p", 0, 0, 1));
  // -1 is how several servers spell "off".
  const int64_t top_k = fields.Integer("top_k", 0, -1, std::numeric_limits<int32_t>::max());
  sampling.top_k = static_cast<int>(std::max<int64_t>(0, top_k));
  sampling.presence_penalty = static_cast<float>(fields.Number("presence_penalty", 0, -2, 2));
  sampling.frequency_penalty = static_cast<float>(fields.Number("frequency_penalty", 0, -2, 2));
  const absl::string_view repetition =
      fields.Find("repetition_penalty") == nullptr ? "repeat_penalty" : "repetition_penalty";
  sampling.repetition_penalty = static_cast<float>(fields.Number(repetition, 1, 0.01, 10));
  const auto seed =
      fields.OptionalInteger("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (seed.has_value()) sampling.seed = static_cast<uint64_t>(*seed);
  ReadLogitBias(fields, sampling);
}

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
  ReadSampling(fields, shared.sampling);
  ReadStop(fields, shared.stop);
  ReadStream(fields, shared);
  shared.n = fields.Integer("n", 1, 1, kChoicesMax);
  shared.ignore_eos = fields.Bool("ignore_eos", false);
  shared.truncate = fields.Bool("truncate", false);
  if (fields.Find("timeout") != nullptr) {
    shared.timeout = absl::Seconds(fields.Number("timeout", 0, 0.001, kTimeoutSecondsMax));
  }
}

}  // namespace barn
