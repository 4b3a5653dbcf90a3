#include "coordinator/text/sampling/candidate_pool.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace barn {

CandidatePool::CandidatePool(std::span<const Candidate> best_first, const LogitSummary& all) {
  ids_.reserve(best_first.size());
  logits_.reserve(best_first.size());
  double best = -INFINITY;
  for (const Candidate& c : best_first) {
    if (std::isnan(c.logit)) continue;
    ids_.push_back(c.id);
    logits_.push_back(c.logit);
    best = std::max<double>(best, c.logit);
  }
  if (ids_.empty()) {
    ids_ = {best_first[0].id};
    logits_ = {0};
    return;
  }
  if (std::isinf(best)) {
    size_t kept = 0;
    for (size_t i = 0; i < logits_.size(); ++i) {
      if (logits_[i] == best) ids_[kept++] = ids_[i];
    }
    ids_.resize(kept);
    logits_.assign(kept, 0);
    return;
  }
  if (std::isfinite(all.logsumexp)) logsumexp_ = all.logsumexp;
  if (all.deviation > 0) deviation_ = all.deviation;
}

const std::vector<double>& CandidatePool::Weights() {
  if (weighed_) return weights_;
  weighed_ = true;
  weights_.resize(logits_.size());
  for (size_t i = 0; i < logits_.size(); ++i) weights_[i] = std::exp(logits_[i] - logits_[0]);
  return weights_;
}

double CandidatePool::Total() {
  const std::vector<double>& weights = Weights();
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

double CandidatePool::Mass() {
  const double total = Total();
  return logsumexp_.has_value() ? std::max(total, std::exp(*logsumexp_ - logits_[0])) : total;
}

double CandidatePool::Entropy() {
  const double mass = Mass();
  double entropy = 0;
  for (const double weight : Weights()) {
    if (weight > 0) entropy -= weight / mass * std::log(weight / mass);
  }
  return entropy;
}

void CandidatePool::Keep(size_t count) { Erase(std::max<size_t>(1, count), ids_.size()); }

void CandidatePool::Erase(size_t first, size_t last) {
  logsumexp_.reset();
  deviation_.reset();
  if (first >= last) return;
  const auto erase = [&](auto& list) { list.erase(list.begin() + first, list.begin() + last); };
  erase(ids_);
  erase(logits_);
  if (first == 0) weighed_ = false;  // Relative to another best.
  if (weighed_) erase(weights_);
}

void CandidatePool::Temperature(double temperature) {
  if (temperature == 1) return;
  if (temperature <= 0) return Keep(1);
  for (double& logit : logits_) logit /= temperature;
  logsumexp_.reset();
  if (deviation_.has_value()) *deviation_ /= temperature;
  weighed_ = false;
}

void CandidatePool::DynamicTemperature(double temperature, double range, double exponent) {
  if (size() < 2) return;
  const double low = std::max(0.0, temperature - range);
  const double spread = std::clamp(Entropy() / std::log(static_cast<double>(size())), 0.0, 1.0);
  Temperature(low + (temperature + range - low) * std::pow(spread, exponent));
}

void CandidatePool::TopK(int64_t k) { Keep(static_cast<size_t>(std::clamp<int64_t>(k, 1, std::ssize(ids_)))); }

void CandidatePool::TopP(double share) {
  const double wanted = share * Mass();
  const std::vector<double>& weights = Weights();
  double sum = 0;
  size_t count = 0;
  while (count < weights.size()) {
    sum += weights[count++];
    if (sum >= wanted) break;
  }
  Keep(count);
}

void CandidatePool::MinP(double share) {
  const std::vector<double>& weights = Weights();
  Keep(static_cast<size_t>(std::partition_point(weights.begin(), weights.end(), [&](double w) { return w >= share; }) -
                           weights.begin()));
}

void CandidatePool::Typical(double share) {
  const double entropy = Entropy();
  const double mass = Mass();
  const std::vector<double>& weights = Weights();
  std::vector<double> distance(size());
  std::vector<size_t> order(size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = 0; i < size(); ++i) distance[i] = std::abs(-std::log(weights[i] / mass) - entropy);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance[a] < distance[b]; });
  double sum = 0;
  size_t count = 0;
  while (count < order.size()) {
    sum += weights[order[count++]];
    if (sum >= share * mass) break;
  }
  order.resize(count);
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < count; ++i) {
    ids_[i] = ids_[order[i]];
    logits_[i] = logits_[order[i]];
  }
  Keep(count);
  weighed_ = false;
}

void CandidatePool::TopNSigma(double count) {
  double deviation = 0;
  if (deviation_.has_value()) {
    deviation = *deviation_;
  } else {
    const double mean = std::accumulate(logits_.begin(), logits_.end(), 0.0) / static_cast<double>(size());
    for (const double logit : logits_) deviation += (logit - mean) * (logit - mean);
    deviation = std::sqrt(deviation / static_cast<double>(size()));
  }
  const double lowest = logits_[0] - count * deviation;
  Keep(static_cast<size_t>(
      std::partition_point(logits_.begin(), logits_.end(), [&](double logit) { return logit >= lowest; }) -
      logits_.begin()));
}

void CandidatePool::ExcludeTopChoices(double threshold) {
  const double wanted = threshold * Mass();
  const std::vector<double>& weights = Weights();
  const auto count = static_cast<size_t>(
      std::partition_point(weights.begin(), weights.end(), [&](double w) { return w >= wanted; }) - weights.begin());
  if (count > 1) Erase(0, count - 1);
}

void CandidatePool::MaxSurprise(double bits) {
  const double wanted = std::exp2(-bits) * Mass();
  const std::vector<double>& weights = Weights();
  Keep(static_cast<size_t>(std::partition_point(weights.begin(), weights.end(), [&](double w) { return w >= wanted; }) -
                           weights.begin()));
}

size_t CandidatePool::Pick(double uniform) {
  double rest = uniform * Total();
  size_t last = 0;
  for (size_t i = 0; i < size(); ++i) {
    if (weights_[i] == 0) continue;
    last = i;
    rest -= weights_[i];
    if (rest < 0) break;
  }
  return last;  // Rounding may leave a hair over.
}

double CandidatePool::ShareOfKept(size_t index) { return Weights()[index] / Total(); }

}  // namespace barn
