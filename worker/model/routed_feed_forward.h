#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/model/feed_forward.h"

namespace barn {

// Experts chosen by a router for each token, and a shared expert that every token passes.
class RoutedFeedForward final : public FeedForwardPart {
 public:
  RoutedFeedForward(TensorLoader& loader, const RoutedSpec& spec, int64_t layer, int64_t width,
                    int64_t step_tokens_max);

  void Forward(const Step& step, Tensor x, Tensor out) override;
  int64_t scratch_floats_per_row() const override;

 private:
  Routes Route(const Step& step, Tensor x);
  void AddShared(const Step& step, Tensor x, Tensor out);

  RoutedSpec spec_;
  int64_t layer_;
  int64_t width_;
  Router router_;
  ExpertMatrices matrices_;
  const Matrix* router_weight_ = nullptr;
  const float* router_bias_ = nullptr;
  std::vector<float> selection_bias_;  // [E] or empty.
  const Matrix* shared_gate_ = nullptr;
  std::optional<DenseFeedForward> shared_;
  std::vector<int32_t> experts_;  // [step_tokens_max * k]
  std::vector<float> weights_;    // [step_tokens_max * k]
};

}  // namespace barn
