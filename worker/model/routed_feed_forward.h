#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/model/feed_forward.h"

namespace barn {

// Experts chosen by a router for each token, and a shared expert that every token passes.
class RoutedFeedForward final : public FeedForwardPart {
 public:
  // ranks outlives this.
  RoutedFeedForward(TensorLoader& loader, RankGroup& ranks, const RoutedSpec& spec, int64_t layer, int64_t width,
                    int64_t step_tokens_max);

  void Forward(const Step& step, Tensor x, Tensor out) override;
  int64_t scratch_floats_per_row() const override;

 private:
  void LoadRouter(TensorLoader& loader);
  void LoadExperts(TensorLoader& loader, RankGroup& ranks);
  void LoadShared(TensorLoader& loader, const RankGroup& ranks);
  Routes Route(const Step& step, Tensor x);
  void ForwardOnHost(const Step& step, Tensor x, Tensor out);
  // The shared expert's part of `all`, whose columns this rank has: all is [T, D].
  Tensor Shared(const Step& step, Tensor x, Tensor all);

  RoutedSpec spec_;
  int64_t layer_;
  int64_t width_;
  Device* host_ = nullptr;              // Has the experts, where they lie apart from all else.
  RankCut experts_cut_, hidden_, out_;  // Columns of the router's logits, of FF and of D.
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
