#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "coordinator/text/sampling/candidate.h"

namespace barn {

// The candidates of one draw on their way through the filters, best first, in double precision. At least one stays,
// whatever a filter is told. Shares are those of the whole vocabulary as long as nothing was cut or scaled (by
// logsumexp), then those of the candidates that are left.
class CandidatePool {
 public:
  // `best_first` is not empty. Logits that are not numbers drop out while another is left; of infinite ones the best
  // are equal and alone.
  CandidatePool(std::span<const Candidate> best_first, const LogitSummary& all);

  size_t size() const { return ids_.size(); }
  int32_t id(size_t index) const { return ids_[index]; }

  // Divides the logits; 0 leaves the best alone.
  void Temperature(double temperature);
  // Temperature between temperature - range (not below 0) and temperature + range: the entropy's share of the largest
  // possible one, to the power `exponent`, says where.
  void DynamicTemperature(double temperature, double range, double exponent);
  void TopK(int64_t k);
  // The fewest of the best that hold `share`.
  void TopP(double share);
  // Those with at least `share` of the best one's probability.
  void MinP(double share);
  // The fewest that hold `share`, taken by how near their surprise is to the entropy (Meister et al. 2023).
  void Typical(double share);
  // Those at most `count` standard deviations below the best (Tang et al. 2024). Of all logits while nothing was cut.
  void TopNSigma(double count);
  // Leaves out all but the least likely of those that hold at least `threshold` each.
  void ExcludeTopChoices(double threshold);
  // Those with a surprise of at most `bits`.
  void MaxSurprise(double bits);

  // The place in the pool of the draw at `uniform` in [0, 1).
  size_t Pick(double uniform);
  // Of the candidates that are left.
  double ShareOfKept(size_t index);

 private:
  const std::vector<double>& Weights();  // Probabilities relative to the best one's.
  double Total();
  double Mass();  // What a share is of, in the unit of the weights.
  void Keep(size_t count);
  void Erase(size_t first, size_t last);
  double Entropy();  // In nats, of the shares.

  std::vector<int32_t> ids_;
  std::vector<double> logits_;
  std::vector<double> weights_;  // Of logits_, when weighed_.
  bool weighed_ = false;
  std::optional<double> logsumexp_;  // Of the whole vocabulary, while nothing was cut or scaled.
  std::optional<double> deviation_;  // The same, but scaled along.
};

}  // namespace barn
