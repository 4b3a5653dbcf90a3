#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace barn {

// Most candidates that the last pipeline stage is asked for: what lies below the 1024 best is never drawn.
inline constexpr int64_t kCandidatesMax = 1024;
// The repetition penalty looks at this many of the newest tokens, so that the edits of a step stay small in a long
// context.
inline constexpr int64_t kRepetitionWindowTokens = 1024;
inline constexpr int64_t kLogitBiasEntriesMax = 1024;

// A request's sampling settings, named as in the OpenAI dialect (top_k, min_p and repetition_penalty as its
// extensions).
struct SamplingParams {
  float temperature = 1;         // 0: greedy.
  int top_k = 0;                 // 0: off. More than kCandidatesMax counts as that.
  float top_p = 1;               // 1: off.
  float min_p = 0;               // 0: off.
  float repetition_penalty = 1;  // 1: off.
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // Token id and what is added to its logit.
  std::optional<uint64_t> seed;
};

// InvalidArgument names the parameter and its allowed range.
absl::Status Validate(const SamplingParams& params, int64_t vocabulary_size = INT32_MAX);

// One of the best entries of the vocabulary after the edits.
struct Candidate {
  int32_t id = 0;
  float logit = 0;
};

// A change to one raw logit l, made by the last stage: l = l > 0 ? l / repetition : l * repetition, then l += add.
struct LogitEdit {
  int32_t id = 0;
  float add = 0;         // Bias - presence - frequency x count in the generated tokens.
  float repetition = 1;  // 1: none (Keskar et al. 2019, section 4.1).
};

// The natural logarithm of a token's probability at temperature 1 over the whole (edited) vocabulary.
inline double LogProbability(float logit, double logsumexp) { return static_cast<double>(logit) - logsumexp; }

// Draws the tokens of one sequence. The n-th draw depends on the seed, n and its candidates alone, so a replay gives
// the same stream.
//
// The filters, in order: logits are divided by the temperature; the top_k best stay; of those the fewest whose
// probabilities reach top_p stay; of those the ones with at least min_p times the highest probability stay. The draw is
// from what is left, renormalized. Probabilities for top_p are shares of the kept candidates; without top_k and at
// temperature 1 they are shares of the whole vocabulary (by logsumexp).
class Sampler {
 public:
  // `fallback_seed` serves when the parameters have none. The parameters are valid.
  Sampler(SamplingParams params, uint64_t fallback_seed);

  // How many candidates Draw wants: 1 for greedy, top_k if set, else kCandidatesMax.
  int64_t CandidatesWanted() const;

  // The edits for the next token, by ascending id, at most one for each id. `tokens`: the sequence so far,
  // `prompt_tokens` of the prompt and then the generated ones. Repetition counts the newest kRepetitionWindowTokens of
  // all; presence and frequency count generated tokens alone.
  std::vector<LogitEdit> Edits(std::span<const int32_t> tokens, int64_t prompt_tokens) const;

  // Whether the edits depend on `tokens`: the next step's cannot be known before the token of this one.
  bool LooksBack() const {
    return params_.repetition_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0;
  }

  // The next token. `best_first`: highest logit first, ties by lower id. -1 if it is empty, which only a broken worker
  // sends. Greedy takes the first. A logit that is not a number is never drawn while another is left.
  int32_t Draw(std::span<const Candidate> best_first, double logsumexp);

  uint64_t seed() const { return seed_; }
  int64_t draws() const { return draws_; }

 private:
  double NextUniform();  // [0, 1).

  SamplingParams params_;
  uint64_t seed_;
  int64_t draws_ = 0;
};

}  // namespace barn
