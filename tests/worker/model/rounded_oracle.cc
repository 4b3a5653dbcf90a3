#include "tests/worker/model/rounded_oracle.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/model/routing.h"

namespace barn {
namespace {

constexpr int32_t kRecordedRow = 7;  // And the last.

std::vector<int32_t> Sorted(std::span<const int32_t> experts) {
  std::vector<int32_t> sorted(experts.begin(), experts.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

double Rms(std::span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

}  // namespace

void RoundedOracle::SetUp() {
  model_ = LoadOracle(GetParam());
  spec_ = *DescribeModel(*model_.header, 0);
  exact_ = OracleLogits(model_.name, model_.quantized() ? "ref.logits.f32" : "logits.f32");
  rounded_ = OracleLogits(model_.name, "logits.f32");
}

float RoundedOracle::Tolerance() const {
  const float arithmetic = model_.uses_gelu() ? 1e-2f : 1e-3f;
  if (!model_.quantized()) return arithmetic;
  const nlohmann::json& error = model_.facts.at("tolerance").at("quantized_vs_dequantized_f32");
  return std::max(arithmetic, 2 * error.at("recorded_rows_max_abs").get<float>());
}

RoundedOracle::TracedRun RoundedOracle::RunPrompt(Pipeline& pipeline, std::span<const int32_t> prompt,
                                                  const Trace* forced) {
  TracedRun run;
  std::vector<int32_t> experts;
  std::vector<float> weights;
  const auto observe = [&](int64_t layer, Routes& routes, Tensor logits) {
    LayerTrace& trace = run.trace[layer];
    experts.assign(routes.experts.begin(), routes.experts.end());
    weights.assign(routes.weights.begin(), routes.weights.end());
    for (int64_t t = 0; t < logits.rows; ++t) {
      const std::span<const float> row(logits.row(t), logits.cols);
      const std::span<int32_t> chosen = std::span(experts).subspan(t * routes.k, routes.k);
      trace.logits.emplace_back(row.begin(), row.end());
      trace.experts.push_back(Sorted(chosen));
      if (forced != nullptr && forced->at(layer).experts[t] != trace.experts.back()) {
        Choose(layer, row, forced->at(layer).experts[t], chosen, std::span(weights).subspan(t * routes.k, routes.k));
      }
    }
    routes.experts = experts;
    routes.weights = weights;
  };
  const auto observe_routes = [&](const RouteObserver& observer) {
    for (size_t i = 0; i < pipeline.slices(); ++i) pipeline.slice(i).ObserveRoutes(observer);
  };
  std::vector<int32_t> rows(prompt.size());
  std::iota(rows.begin(), rows.end(), 0);
  observe_routes(observe);
  pipeline.Restart();
  run.logits = pipeline.Feed(prompt, rows);
  observe_routes(nullptr);
  return run;
}

void RoundedOracle::Choose(int64_t layer, std::span<const float> logits, std::span<const int32_t> wanted,
                           std::span<int32_t> experts, std::span<float> weights) {
  std::vector<float> bias(logits.size(), 0.0f);
  for (const int32_t expert : wanted) bias[expert] = 1e6f;
  Router(spec_.layers[layer].routed->routing).Route(logits, bias, experts, weights);
  ASSERT_EQ(Sorted(experts), std::vector<int32_t>(wanted.begin(), wanted.end()));
}

float RoundedOracle::Margin(int64_t layer, std::span<const float> from, std::span<const float> to) {
  Router router(spec_.layers[layer].routed->routing);
  const std::vector<float> bias = model_.F32Tensor("blk." + std::to_string(layer) + ".exp_probs_b.bias");
  const auto choice = [&](double share) {
    std::vector<float> logits(from.size());
    for (size_t e = 0; e < from.size(); ++e) {
      logits[e] = static_cast<float>(from[e] + share * (static_cast<double>(to[e]) - from[e]));
    }
    std::vector<int32_t> experts(spec_.layers[layer].routed->routing.used);
    std::vector<float> weights(experts.size());
    router.Route(logits, bias, experts, weights);
    return Sorted(experts);
  };
  double stays = 0, tips = 1;
  const std::vector<int32_t> before = choice(0);
  for (int i = 0; i < 30; ++i) {
    const double middle = (stays + tips) / 2;
    (choice(middle) == before ? stays : tips) = middle;
  }
  return static_cast<float>(tips) * MaxAbsDifference(from, to);
}

void RoundedOracle::CheckTips(const Trace& exact, const Trace& noisy) {
  for (const auto& [layer, trace] : exact) {
    const LayerTrace& other = noisy.at(layer);
    std::vector<float> noise, logits;
    for (size_t t = 0; t < trace.logits.size(); ++t) {
      for (size_t e = 0; e < trace.logits[t].size(); ++e) {
        noise.push_back(other.logits[t][e] - trace.logits[t][e]);
        logits.push_back(trace.logits[t][e]);
      }
    }
    // Measured up to the recorded rows: noise of 1.3 to 3.8 % of the logits, margins of up to 2 times the noise.
    EXPECT_LE(Rms(noise), 0.05 * Rms(logits)) << "layer " << layer;
    for (size_t t = 0; t < trace.logits.size(); ++t) {
      if (trace.experts[t] == other.experts[t]) continue;
      const float margin = Margin(layer, trace.logits[t], other.logits[t]);
      EXPECT_LE(margin, 3 * Rms(noise)) << "layer " << layer << " position " << t;
    }
  }
}

const RoundedOracle::Trace& RoundedOracle::Exact(const std::vector<int32_t>& prompt) {
  const auto known = traces_.find(prompt);
  if (known != traces_.end()) return known->second;
  Pipeline pipeline(model_, {.activations = ActivationMode::kF32, .kv_type = KvType::kF32});
  return traces_[prompt] = RunPrompt(pipeline, prompt).trace;
}

void RoundedOracle::CheckPrompt(Pipeline& pipeline, const std::vector<int32_t>& prompt,
                                const std::vector<int32_t>& recorded, size_t first_row) {
  const TracedRun forced = RunPrompt(pipeline, prompt, &Exact(prompt));
  CheckTips(Exact(prompt), forced.trace);
  for (size_t i = 0; i < recorded.size(); ++i) {
    const std::vector<float>& row = forced.logits[recorded[i]];
    const float error =
        std::min(MaxAbsDifference(row, exact_[first_row + i]), MaxAbsDifference(row, rounded_[first_row + i]));
    EXPECT_LE(error, Tolerance()) << "position " << recorded[i];
  }
}

void RoundedOracle::CheckPrompts(Pipeline& pipeline) {
  const std::vector<int32_t> other = model_.Ids("prompt_short");
  CheckPrompt(pipeline, other, {static_cast<int32_t>(other.size()) - 1}, 2);
  const std::vector<int32_t> prompt = model_.Ids("prompt_long");
  CheckPrompt(pipeline, prompt, {kRecordedRow, static_cast<int32_t>(prompt.size()) - 1}, 0);
}

void RoundedOracle::CheckUnforced(Pipeline& pipeline) {
  const std::vector<int32_t> prompt = model_.Ids("prompt_long");
  const TracedRun forced = RunPrompt(pipeline, prompt, &Exact(prompt));
  const TracedRun unforced = RunPrompt(pipeline, prompt);
  size_t first_tip = prompt.size();
  for (const auto& [layer, trace] : unforced.trace) {
    const auto& other = Exact(prompt).at(layer).experts;
    const auto difference = std::mismatch(trace.experts.begin(), trace.experts.end(), other.begin());
    first_tip = std::min<size_t>(first_tip, difference.first - trace.experts.begin());
  }
  for (size_t t = 0; t < first_tip; ++t) {
    EXPECT_EQ(unforced.logits[t], forced.logits[t]) << "position " << t;
  }
}

void RoundedOracle::CheckNextTokens(Pipeline& pipeline, int tokens) {
  if (model_.quantized() && !model_.facts.at("greedy_equals_dequantized").get<bool>()) {
    return;  // The reference's own two runs continue differently.
  }
  const std::vector<int32_t> ids = model_.Ids("greedy_ids");
  for (int i = 0; i < tokens; ++i) {
    const int32_t best = ArgMax(pipeline.FeedForLast({&ids[i], 1}));
    if (best == ids[i + 1]) continue;
    EXPECT_LE(model_.facts.at("greedy_gap")[i + 1].get<float>(), Tolerance()) << "greedy token " << i + 1;
    return;
  }
}

}  // namespace barn
