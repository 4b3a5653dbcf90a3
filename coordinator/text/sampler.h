#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/text/sampling/candidate.h"
#include "coordinator/text/sampling/candidate_pool.h"
#include "coordinator/text/sampling/dry.h"
#include "coordinator/text/sampling/params.h"
#include "coordinator/text/sampling/penalties.h"

namespace barn {

// The natural logarithm of a token's probability at temperature 1 over the whole (edited) vocabulary.
inline double LogProbability(float logit, double logsumexp) { return static_cast<double>(logit) - logsumexp; }

// Draws the tokens of one sequence. The n-th draw depends on the seed, n, its candidates and, with Mirostat, the draws
// before, so a replay gives the same stream whatever else runs.
//
// The links of `samplers` work in that order; see CandidatePool. By default: penalties and DRY (as edits of the raw
// logits), top_n_sigma, temperature, then top_k, typical_p, top_p, min_p and XTC, each on what the ones before left.
// The draw is from what is left, renormalized.
class Sampler {
 public:
  // `fallback_seed` serves when the parameters have none. The parameters are valid.
  Sampler(SamplingParams params, uint64_t fallback_seed);

  // How many candidates Draw wants: 1 for greedy, top_k if it comes before what needs more, else kCandidatesMax.
  int64_t CandidatesWanted() const;
  // Whether Draw needs the deviation of all logits.
  bool WantsDeviation() const;

  // The edits for the next token, by ascending id, at most one for each id. `tokens`: the sequence so far,
  // `prompt_tokens` of the prompt and then the generated ones; it only grows between calls, see Forget(). Only what is
  // new is looked at.
  std::vector<LogitEdit> Edits(std::span<const int32_t> tokens, int64_t prompt_tokens);
  // Tokens have been taken back; Edits looks at all of them again.
  void Forget();

  // Whether the edits depend on `tokens`: the next step's cannot be known before the token of this one.
  bool LooksBack() const { return penalties_.active() || dry_.active(); }

  // The next token. `best_first`: highest logit first, ties by lower id. -1 if it is empty, which only a broken worker
  // sends. Greedy takes the first. A logit that is not a number is never drawn while another is left.
  int32_t Draw(std::span<const Candidate> best_first, const LogitSummary& all);

  const SamplingParams& params() const { return params_; }
  uint64_t seed() const { return seed_; }
  int64_t draws() const { return draws_; }

 private:
  bool greedy() const;
  double Uniform(uint64_t stream) const;  // [0, 1), of this draw.
  void Apply(SamplerKind kind, CandidatePool& pool) const;
  void ApplyTemperature(CandidatePool& pool) const;
  int32_t DrawMirostat(CandidatePool& pool);

  SamplingParams params_;
  uint64_t seed_;
  Penalties penalties_;
  Dry dry_;
  std::vector<LogitEdit> biases_;  // By ascending id.
  double surprise_max_bits_ = 0;   // Mirostat's state.
  int64_t draws_ = 0;
};

}  // namespace barn
