#include "coordinator/text/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/btree_map.h"

namespace barn {
namespace {

// What each random number of a draw is for.
constexpr uint64_t kTokenStream = 0;
constexpr uint64_t kXtcStream = 0xD1B54A32D192ED03;

// The output function of SplitMix64 (Steele, Lea and Flood 2014): neighbouring states give unrelated numbers.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::vector<LogitEdit> Biases(const SamplingParams& params) {
  absl::btree_map<int32_t, float> sums;
  for (const auto& [id, bias] : params.logit_bias) sums[id] += bias;
  std::vector<LogitEdit> edits;
  for (const auto& [id, sum] : sums) {
    if (sum != 0) edits.push_back({.id = id, .add = sum});
  }
  return edits;
}

// One edit for each id: sums are added up, and only penalties bring a repetition.
void Fold(std::vector<LogitEdit>& edits) {
  std::stable_sort(edits.begin(), edits.end(), [](const LogitEdit& a, const LogitEdit& b) { return a.id < b.id; });
  size_t kept = 0;
  for (size_t i = 0; i < edits.size(); ++i) {
    if (kept > 0 && edits[kept - 1].id == edits[i].id) {
      edits[kept - 1].add += edits[i].add;
      edits[kept - 1].repetition *= edits[i].repetition;
    } else {
      edits[kept++] = edits[i];
    }
  }
  edits.resize(kept);
}

}  // namespace

Sampler::Sampler(SamplingParams params, uint64_t fallback_seed)
    : params_(std::move(params)),
      seed_(params_.seed.value_or(fallback_seed)),
      penalties_(params_),
      dry_(params_),
      biases_(Biases(params_)),
      surprise_max_bits_(2 * params_.mirostat_tau) {}

bool Sampler::greedy() const {
  return params_.temperature == 0 && params_.dynatemp_range == 0 && params_.Uses(SamplerKind::kTemperature);
}

int64_t Sampler::CandidatesWanted() const {
  // What banned strings take back is drawn again from the same candidates.
  if (!params_.banned_strings.empty()) return kCandidatesMax;
  if (greedy()) return 1;
  if (params_.mirostat == 2) return kCandidatesMax;
  for (const SamplerKind kind : params_.samplers) {
    if (kind == SamplerKind::kTopK && params_.top_k > 0) return std::min(params_.top_k, kCandidatesMax);
    // These look at shares of everything that is there.
    const bool needs_all = (kind == SamplerKind::kTemperature && params_.dynatemp_range > 0) ||
                           (kind == SamplerKind::kTypical && params_.typical_p < 1) ||
                           (kind == SamplerKind::kTopP && params_.top_p < 1) ||
                           (kind == SamplerKind::kXtc && params_.xtc_probability > 0);
    if (needs_all) break;
  }
  return kCandidatesMax;
}

bool Sampler::WantsDeviation() const {
  return !greedy() && params_.mirostat != 2 && params_.top_n_sigma > 0 && params_.Uses(SamplerKind::kTopNSigma);
}

std::vector<LogitEdit> Sampler::Edits(std::span<const int32_t> tokens, int64_t prompt_tokens) {
  if (!LooksBack()) return biases_;
  penalties_.Update(tokens, prompt_tokens);
  dry_.Update(tokens);
  std::vector<LogitEdit> edits;
  penalties_.AddEdits(edits);
  const size_t sorted = edits.size();
  edits.insert(edits.end(), biases_.begin(), biases_.end());
  dry_.AddEdits(tokens, edits);
  if (edits.size() > sorted) Fold(edits);
  return edits;
}

void Sampler::Forget() {
  penalties_.Forget();
  dry_.Forget();
}

double Sampler::Uniform(uint64_t stream) const {
  // Counter-based: the state is the number of draws, so a stream can be taken up at any place.
  const uint64_t bits = Mix(Mix(seed_ ^ stream) + 0x9E3779B97F4A7C15 * static_cast<uint64_t>(draws_));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void Sampler::ApplyTemperature(CandidatePool& pool) const {
  if (params_.dynatemp_range > 0) {
    pool.DynamicTemperature(params_.temperature, params_.dynatemp_range, params_.dynatemp_exponent);
  } else {
    pool.Temperature(params_.temperature);
  }
}

void Sampler::Apply(SamplerKind kind, CandidatePool& pool) const {
  switch (kind) {
    case SamplerKind::kPenalties:
    case SamplerKind::kDry:
      return;  // Edits().
    case SamplerKind::kTopNSigma:
      if (params_.top_n_sigma > 0) pool.TopNSigma(params_.top_n_sigma);
      return;
    case SamplerKind::kTemperature:
      return ApplyTemperature(pool);
    case SamplerKind::kTopK:
      if (params_.top_k > 0) pool.TopK(params_.top_k);
      return;
    case SamplerKind::kTypical:
      if (params_.typical_p < 1) pool.Typical(params_.typical_p);
      return;
    case SamplerKind::kTopP:
      if (params_.top_p < 1) pool.TopP(params_.top_p);
      return;
    case SamplerKind::kMinP:
      if (params_.min_p > 0) pool.MinP(params_.min_p);
      return;
    case SamplerKind::kXtc:
      if (params_.xtc_probability > 0 && params_.xtc_threshold <= 0.5 &&
          Uniform(kXtcStream) < params_.xtc_probability) {
        pool.ExcludeTopChoices(params_.xtc_threshold);
      }
      return;
  }
}

// Mirostat 2.0 (Basu et al. 2021, algorithm 2): what surprises by more than the bound is left out, and the bound
// follows the surprise of the draw, which is measured among what was left.
int32_t Sampler::DrawMirostat(CandidatePool& pool) {
  ApplyTemperature(pool);
  pool.MaxSurprise(surprise_max_bits_);
  const size_t index = pool.Pick(Uniform(kTokenStream));
  const double surprise_bits = -std::log2(pool.ShareOfKept(index));
  surprise_max_bits_ -= params_.mirostat_eta * (surprise_bits - params_.mirostat_tau);
  return pool.id(index);
}

int32_t Sampler::Draw(std::span<const Candidate> best_first, const LogitSummary& all) {
  if (best_first.empty()) return -1;
  ++draws_;
  if (greedy()) return best_first[0].id;
  CandidatePool pool(best_first.first(std::min<size_t>(best_first.size(), CandidatesWanted())), all);
  if (params_.mirostat == 2) return DrawMirostat(pool);
  for (const SamplerKind kind : params_.samplers) Apply(kind, pool);
  return pool.id(pool.Pick(Uniform(kTokenStream)));
}

}  // namespace barn
