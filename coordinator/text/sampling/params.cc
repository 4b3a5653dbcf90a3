#include "coordinator/text/sampling/params.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using P = SamplingParams;

constexpr NumberParam kNumbers[] = {
    {"temperature", &P::temperature, 0, 2},
    {"dynatemp_range", &P::dynatemp_range, 0, 2},
    {"dynatemp_exponent", &P::dynatemp_exponent, 0, 10},
    {"top_p", &P::top_p, 0, 1},
    {"min_p", &P::min_p, 0, 1},
    {"typical_p", &P::typical_p, 0, 1},
    {"top_n_sigma", &P::top_n_sigma, -1, 1000},
    {"xtc_probability", &P::xtc_probability, 0, 1},
    {"xtc_threshold", &P::xtc_threshold, 0, 1},
    {"mirostat_tau", &P::mirostat_tau, 0, 100},
    {"mirostat_eta", &P::mirostat_eta, 0, 1},
    {"repetition_penalty", &P::repetition_penalty, 0.01, 10},
    {"presence_penalty", &P::presence_penalty, -2, 2},
    {"frequency_penalty", &P::frequency_penalty, -2, 2},
    {"dry_multiplier", &P::dry_multiplier, 0, 100},
    {"dry_base", &P::dry_base, 1, 100},
};

constexpr IntegerParam kIntegers[] = {
    {"top_k", &P::top_k, 0, std::numeric_limits<int32_t>::max()},
    {"mirostat", &P::mirostat, 0, 2},
    {"dry_allowed_length", &P::dry_allowed_length, 1, kPenaltyWindowTokensMax},
    {"dry_penalty_last_n", &P::dry_penalty_last_n, -1, kPenaltyWindowTokensMax},
};

struct SamplerName {
  std::string_view name;
  char letter;
  SamplerKind kind;
};
constexpr SamplerName kSamplers[] = {
    {"penalties", 'e', SamplerKind::kPenalties},
    {"dry", 'd', SamplerKind::kDry},
    {"top_n_sigma", 's', SamplerKind::kTopNSigma},
    {"temperature", 't', SamplerKind::kTemperature},
    {"top_k", 'k', SamplerKind::kTopK},
    {"typ_p", 'y', SamplerKind::kTypical},
    {"top_p", 'p', SamplerKind::kTopP},
    {"min_p", 'm', SamplerKind::kMinP},
    {"xtc", 'x', SamplerKind::kXtc},
    {"typical_p", '\0', SamplerKind::kTypical},
};

// InvalidArgument unless min <= value <= max (NaN is neither).
absl::Status CheckRange(std::string_view name, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %g, it must be between %g and %g", name, value, min, max));
}

absl::Status CheckTexts(std::string_view name, const std::vector<std::string>& texts) {
  if (static_cast<int64_t>(texts.size()) > kTextsMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has %d entries, at most %d are allowed", name, texts.size(), kTextsMax));
  }
  for (const std::string& text : texts) {
    if (!text.empty() && static_cast<int64_t>(text.size()) <= kTextBytesMaxOfSampling) continue;
    return absl::InvalidArgumentError(absl::StrFormat("%s has an entry of %d bytes, it must have 1 to %d", name,
                                                      text.size(), kTextBytesMaxOfSampling));
  }
  return absl::OkStatus();
}

absl::Status CheckBias(const SamplingParams& params, int64_t vocabulary_size) {
  constexpr double kBiasMax = 100;
  if (static_cast<int64_t>(params.logit_bias.size()) > kLogitBiasEntriesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("logit_bias has %d entries, at most %d", params.logit_bias.size(), kLogitBiasEntriesMax));
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || id >= vocabulary_size) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit_bias names token %d, it must be between 0 and %d", id, vocabulary_size - 1));
    }
    BARN_RETURN_IF_ERROR(CheckRange(absl::StrFormat("logit_bias of token %d", id), bias, -kBiasMax, kBiasMax));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SamplerKind>> Chain(std::vector<SamplerKind> kinds) {
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (std::find(kinds.begin(), kinds.begin() + static_cast<int64_t>(i), kinds[i]) !=
        kinds.begin() + static_cast<int64_t>(i)) {
      return absl::InvalidArgumentError(absl::StrFormat("samplers names entry %d a second time", i));
    }
  }
  return kinds;
}

}  // namespace

bool SamplingParams::Uses(SamplerKind kind) const {
  return std::find(samplers.begin(), samplers.end(), kind) != samplers.end();
}

std::span<const NumberParam> NumberParams() { return kNumbers; }
std::span<const IntegerParam> IntegerParams() { return kIntegers; }

absl::StatusOr<std::vector<SamplerKind>> ReadSamplers(std::span<const std::string> names) {
  std::vector<SamplerKind> kinds;
  for (const std::string& name : names) {
    const auto* found =
        std::find_if(std::begin(kSamplers), std::end(kSamplers), [&](const SamplerName& s) { return s.name == name; });
    if (found == std::end(kSamplers)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "samplers names '%s'; known are penalties, dry, top_n_sigma, temperature, top_k, typ_p, top_p, min_p and xtc",
          name.substr(0, 40)));
    }
    kinds.push_back(found->kind);
  }
  return Chain(std::move(kinds));
}

absl::StatusOr<std::vector<SamplerKind>> ReadSamplerLetters(std::string_view letters) {
  std::vector<SamplerKind> kinds;
  for (const char letter : letters) {
    const auto* found = std::find_if(std::begin(kSamplers), std::end(kSamplers),
                                     [&](const SamplerName& s) { return letter != '\0' && s.letter == letter; });
    if (found == std::end(kSamplers)) {
      return absl::InvalidArgumentError("samplers, as letters, may hold those of 'edskypmxt' alone");
    }
    kinds.push_back(found->kind);
  }
  return Chain(std::move(kinds));
}

absl::Status Validate(const SamplingParams& params, int64_t vocabulary_size) {
  for (const NumberParam& number : kNumbers) {
    BARN_RETURN_IF_ERROR(CheckRange(number.name, params.*number.value, number.min, number.max));
  }
  for (const IntegerParam& integer : kIntegers) {
    const int64_t value = params.*integer.value;
    if (value >= integer.min && value <= integer.max) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is %d, it must be between %d and %d", integer.name, value, integer.min, integer.max));
  }
  if (params.mirostat == 1) return absl::InvalidArgumentError("mirostat is 1, only 0 (off) and 2 are supported");
  const int64_t last_n = params.repeat_last_n.value_or(0);
  BARN_RETURN_IF_ERROR(CheckRange("repeat_last_n", static_cast<double>(last_n), -1, kPenaltyWindowTokensMax));
  BARN_RETURN_IF_ERROR(Chain(params.samplers).status());
  BARN_RETURN_IF_ERROR(CheckTexts("dry_sequence_breakers", params.dry_sequence_breakers));
  BARN_RETURN_IF_ERROR(CheckTexts("banned_strings", params.banned_strings));
  if (!params.banned_strings.empty() && params.tokenizer == nullptr) {
    return absl::InvalidArgumentError("banned_strings need a model with a tokenizer");
  }
  return CheckBias(params, vocabulary_size);
}

}  // namespace barn
