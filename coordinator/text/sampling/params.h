#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// Most candidates that the last pipeline stage is asked for: what lies below the 1024 best is never drawn.
inline constexpr int64_t kCandidatesMax = 1024;
// The repetition penalty looks at this many of the newest tokens unless repeat_last_n says otherwise, so that the edits
// of a step stay small in a long context.
inline constexpr int64_t kRepetitionWindowTokens = 1024;
inline constexpr int64_t kPenaltyWindowTokensMax = 65536;  // Of repeat_last_n and dry_penalty_last_n; -1 means that.
inline constexpr int64_t kLogitBiasEntriesMax = 1024;
inline constexpr int64_t kTextsMax = 128;  // Of banned_strings and of dry_sequence_breakers.
inline constexpr int64_t kTextBytesMaxOfSampling = 256;

// The links of the chain that turns candidates into a draw. Penalties and DRY change raw logits of the whole
// vocabulary, so they come first wherever they stand.
enum class SamplerKind { kPenalties, kDry, kTopNSigma, kTemperature, kTopK, kTypical, kTopP, kMinP, kXtc };

// A request's sampling settings, named as in the OpenAI dialect and, for the rest, as llama-server names them.
struct SamplingParams {
  double temperature = 1;     // 0: greedy.
  double dynatemp_range = 0;  // > 0: the temperature follows the entropy within temperature +- range.
  double dynatemp_exponent = 1;
  int64_t top_k = 0;           // 0: off. More than kCandidatesMax counts as that.
  double top_p = 1;            // 1: off.
  double min_p = 0;            // 0: off.
  double typical_p = 1;        // 1: off (Meister et al. 2023).
  double top_n_sigma = 0;      // 0 or less: off (Tang et al. 2024).
  double xtc_probability = 0;  // 0: off.
  double xtc_threshold = 0.1;  // Above 0.5 nothing is ever excluded.
  int64_t mirostat = 0;        // 2: Mirostat 2.0 (Basu et al. 2021) in place of all filters but the temperature.
  double mirostat_tau = 5;     // Surprise to aim at, in bits.
  double mirostat_eta = 0.1;
  double repetition_penalty = 1;  // 1: off.
  double presence_penalty = 0;
  double frequency_penalty = 0;
  // The penalties look at so many of the newest tokens; -1: all. Absent: repetition at kRepetitionWindowTokens of all
  // tokens, presence and frequency at every generated one.
  std::optional<int64_t> repeat_last_n;
  double dry_multiplier = 0;  // 0: off.
  double dry_base = 1.75;
  int64_t dry_allowed_length = 2;
  int64_t dry_penalty_last_n = -1;
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  std::vector<std::pair<int32_t, float>> logit_bias;  // Token id and what is added to its logit.
  std::vector<std::string> banned_strings;            // Never in the answer, whatever the case of ASCII letters.
  std::vector<SamplerKind> samplers = {SamplerKind::kPenalties,   SamplerKind::kDry,  SamplerKind::kTopNSigma,
                                       SamplerKind::kTemperature, SamplerKind::kTopK, SamplerKind::kTypical,
                                       SamplerKind::kTopP,        SamplerKind::kMinP, SamplerKind::kXtc};
  std::optional<uint64_t> seed;
  const Tokenizer* tokenizer = nullptr;  // Reads tokens for texts above; outlives the request.

  // Whether the link is in the chain.
  bool Uses(SamplerKind kind) const;
};

// The numbers among the parameters and what they may be, both ends included: one list for checks and for dialects.
struct NumberParam {
  std::string_view name;
  double SamplingParams::*value;
  double min;
  double max;
};
struct IntegerParam {
  std::string_view name;
  int64_t SamplingParams::*value;
  int64_t min;
  int64_t max;
};
std::span<const NumberParam> NumberParams();
std::span<const IntegerParam> IntegerParams();

// The chain from names ("penalties", "dry", "top_n_sigma", "temperature", "top_k", "typ_p" or "typical_p", "top_p",
// "min_p", "xtc"), or from llama-server's letters ("edskypmxt"). InvalidArgument names what is unknown or twice.
absl::StatusOr<std::vector<SamplerKind>> ReadSamplers(std::span<const std::string> names);
absl::StatusOr<std::vector<SamplerKind>> ReadSamplerLetters(std::string_view letters);

// InvalidArgument names the parameter and its allowed range.
absl::Status Validate(const SamplingParams& params, int64_t vocabulary_size = INT32_MAX);

}  // namespace barn
