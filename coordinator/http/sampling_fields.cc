#include "coordinator/http/sampling_fields.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace barn {
namespace {

// Other names of the same parameters.
constexpr std::pair<absl::string_view, absl::string_view> kAliases[] = {
    {"repetition_penalty", "repeat_penalty"},
    {"typical_p", "typ_p"},

};

absl::string_view NameIn(const Fields& fields, absl::string_view name) {
  for (const auto& [known, alias] : kAliases) {
    if (name == known && fields.Find(name) == nullptr && fields.Find(alias) != nullptr) return alias;
  }
  return name;
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

// A list of texts; how long they may be is checked with all parameters.
void ReadTexts(Fields& fields, absl::string_view name, std::vector<std::string>& texts) {
  const nlohmann::json* value = fields.Find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return fields.Fail(name, "must be a list of strings");
  if (value->size() > kTextsMax) {
    return fields.Fail(name, absl::StrCat("has ", value->size(), " entries, at most ", kTextsMax, " are allowed"));
  }
  texts.clear();
  for (const nlohmann::json& entry : *value) {
    if (!entry.is_string()) return fields.Fail(name, "must be a list of strings");
    const auto& text = entry.get_ref<const std::string&>();
    if (text.empty() || text.size() > kTextBytesMaxOfSampling) {
      return fields.Fail(
          name, absl::StrCat("has an entry of ", text.size(), " bytes, it must have 1 to ", kTextBytesMaxOfSampling));
    }
    texts.push_back(text);
  }
}

void ReadChain(Fields& fields, SamplingParams& sampling) {
  const nlohmann::json* value = fields.Find("samplers");
  if (value == nullptr) return;
  absl::StatusOr<std::vector<SamplerKind>> chain = absl::InvalidArgumentError("must be a list of names, or letters");
  if (value->is_string()) {
    chain = ReadSamplerLetters(value->get_ref<const std::string&>());
  } else if (value->is_array()) {
    std::vector<std::string> names;
    for (const nlohmann::json& entry : *value) names.push_back(entry.is_string() ? entry.get<std::string>() : "");
    chain = ReadSamplers(names);
  }
  if (!chain.ok()) return fields.Fail("samplers", std::string(chain.status().message()));
  sampling.samplers = *std::move(chain);
}

}  // namespace

void ReadSampling(Fields& fields, SamplingParams& sampling) {
  for (const NumberParam& param : NumberParams()) {
    const absl::string_view name = NameIn(fields, {param.name.data(), param.name.size()});
    sampling.*param.value = fields.Number(name, sampling.*param.value, param.min, param.max);
  }
  for (const IntegerParam& param : IntegerParams()) {
    const absl::string_view name(param.name.data(), param.name.size());
    // -1 is how several servers spell "off".
    const int64_t min = name == "top_k" ? -1 : param.min;
    const int64_t value = fields.Integer(name, sampling.*param.value, min, param.max);
    sampling.*param.value = std::max(value, param.min);
  }
  if (sampling.mirostat == 1) fields.Fail("mirostat", "may be 0 (off) or 2: version 1 is not supported");
  sampling.repeat_last_n = fields.OptionalInteger("repeat_last_n", -1, kPenaltyWindowTokensMax);
  const auto seed =
      fields.OptionalInteger("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (seed.has_value()) sampling.seed = static_cast<uint64_t>(*seed);
  ReadChain(fields, sampling);
  ReadTexts(fields, "dry_sequence_breakers", sampling.dry_sequence_breakers);
  ReadTexts(fields, "banned_strings", sampling.banned_strings);
  ReadLogitBias(fields, sampling);
}

}  // namespace barn
