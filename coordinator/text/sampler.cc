#include "coordinator/text/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr float kTemperatureMax = 2;
constexpr float kPenaltyMax = 2;  // Presence and frequency, both signs.
constexpr float kRepetitionPenaltyMax = 10;
constexpr float kBiasMax = 100;

// InvalidArgument unless min <= value <= max (NaN is neither).
absl::Status CheckRange(std::string_view name, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %g, it must be between %g and %g", name, value, min, max));
}

// The output function of SplitMix64 (Steele, Lea and Flood 2014): neighbouring states give unrelated numbers.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Probability weights at a temperature, relative to the best candidate's.
std::vector<double> Weights(std::span<const Candidate> candidates, double temperature) {
  double best = -INFINITY;
  for (const Candidate& c : candidates) {
    if (!std::isnan(c.logit)) best = std::max<double>(best, c.logit);
  }
  std::vector<double> weights;
  weights.reserve(candidates.size());
  for (const Candidate& c : candidates) {
    // Equal infinities have no difference; the best one counts fully all the same.
    const double below = c.logit == best ? 0.0 : (c.logit - best) / temperature;
    weights.push_back(std::isnan(below) ? 0.0 : std::exp(below));
  }
  return weights;
}

// The number of leading weights that together reach `share` of `total`; at least one.
size_t CountToReach(std::span<const double> weights, double share, double total) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum >= share * total) return i + 1;
  }
  return weights.size();
}

}  // namespace

absl::Status Validate(const SamplingParams& params, int64_t vocabulary_size) {
  BARN_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, kTemperatureMax));
  if (params.top_k < 0)
    return absl::InvalidArgumentError(absl::StrFormat("top_k is %d, it must be 0 or more", params.top_k));
  BARN_RETURN_IF_ERROR(CheckRange("top_p", params.top_p, 0, 1));
  BARN_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  if (!(params.repetition_penalty > 0 && params.repetition_penalty <= kRepetitionPenaltyMax)) {
    return absl::InvalidArgumentError(absl::StrFormat("repetition_penalty is %g, it must be above 0 and at most %g",
                                                      params.repetition_penalty, kRepetitionPenaltyMax));
  }
  BARN_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -kPenaltyMax, kPenaltyMax));
  BARN_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -kPenaltyMax, kPenaltyMax));
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

Sampler::Sampler(SamplingParams params, uint64_t fallback_seed)
    : params_(std::move(params)), seed_(params_.seed.value_or(fallback_seed)) {}

int64_t Sampler::CandidatesWanted() const {
  if (params_.temperature == 0) return 1;
  return params_.top_k > 0 ? std::min<int64_t>(params_.top_k, kCandidatesMax) : kCandidatesMax;
}

std::vector<LogitEdit> Sampler::Edits(std::span<const int32_t> tokens, int64_t prompt_tokens) const {
  std::map<int32_t, LogitEdit> edits;
  for (const auto& [id, bias] : params_.logit_bias) edits[id].add += bias;
  if (params_.presence_penalty != 0 || params_.frequency_penalty != 0) {
    absl::flat_hash_set<int32_t> present;
    for (const int32_t id : tokens.subspan(std::min<size_t>(prompt_tokens, tokens.size()))) {
      edits[id].add -= params_.frequency_penalty + (present.insert(id).second ? params_.presence_penalty : 0.0f);
    }
  }
  if (params_.repetition_penalty != 1) {
    for (const int32_t id : tokens.last(std::min<size_t>(tokens.size(), kRepetitionWindowTokens))) {
      edits[id].repetition = params_.repetition_penalty;
    }
  }
  std::vector<LogitEdit> out;
  out.reserve(edits.size());
  for (auto& [id, edit] : edits) {
    if (edit.add == 0 && edit.repetition == 1) continue;
    edit.id = id;
    out.push_back(edit);
  }
  return out;
}

double Sampler::NextUniform() {
  // Counter-based: the state is the number of draws, so a stream can be taken up at any place.
  const uint64_t bits = Mix(Mix(seed_) + 0x9E3779B97F4A7C15 * static_cast<uint64_t>(++draws_));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int32_t Sampler::Draw(std::span<const Candidate> best_first, double logsumexp) {
  if (best_first.empty()) return -1;
  if (params_.temperature == 0) {
    ++draws_;
    return best_first[0].id;
  }
  const double uniform = NextUniform();
  const auto candidates = best_first.first(std::min<size_t>(best_first.size(), CandidatesWanted()));
  std::vector<double> weights = Weights(candidates, params_.temperature);
  double total = 0;
  for (const double w : weights) total += w;
  if (!(total > 0)) return candidates[0].id;
  if (params_.top_p < 1) {
    const bool whole_vocabulary = params_.top_k == 0 && params_.temperature == 1;
    const double share_of = whole_vocabulary ? std::max(total, std::exp(logsumexp - candidates[0].logit)) : total;
    weights.resize(CountToReach(weights, params_.top_p, share_of));
  }
  double kept = 0;
  for (double& w : weights) {
    if (w < params_.min_p) w = 0;  // The best candidate's weight is 1.
    kept += w;
  }
  double rest = uniform * kept;
  int32_t last = candidates[0].id;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    last = candidates[i].id;
    rest -= weights[i];
    if (rest < 0) return last;
  }
  return last;  // Rounding left a hair over.
}

}  // namespace barn
