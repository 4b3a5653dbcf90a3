#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tests/worker/model/oracle_model.h"
#include "worker/model/architectures.h"
#include "worker/model/routing.h"

// Every model of oracles/arch with activations rounded to int8 (see the README.md there for the tolerances). Where two
// experts are almost equal, rounding may tip the choice, and from there on the rounded run is another one. So each
// model runs in F32, rounded, and rounded with the experts of the F32 run, which has nothing to tip.

namespace barn {
namespace {

constexpr int kGreedyTokens = 16;
constexpr int32_t kRecordedRow = 7;  // And the last.

// What the router of a layer saw and chose, by position.
struct LayerTrace {
  LogitRows logits;
  std::vector<std::vector<int32_t>> experts;  // Of each position, sorted.
};
using Trace = std::map<int64_t, LayerTrace>;

struct TracedRun {
  LogitRows logits;  // Of every position.
  Trace trace;
};

std::vector<int32_t> Sorted(std::span<const int32_t> experts) {
  std::vector<int32_t> sorted(experts.begin(), experts.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

class Int8Oracle : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = LoadOracle(GetParam());
    spec_ = *DescribeModel(*model_.header, 0);
    exact_ = OracleLogits(model_.name, model_.quantized() ? "ref.logits.f32" : "logits.f32");
    rounded_ = OracleLogits(model_.name, "logits.f32");
  }

  float Tolerance() const {
    const float arithmetic = model_.uses_gelu() ? 1e-2f : 1e-3f;
    if (!model_.quantized()) return arithmetic;
    const nlohmann::json& error = model_.facts.at("tolerance").at("quantized_vs_dequantized_f32");
    return std::max(arithmetic, 2 * error.at("recorded_rows_max_abs").get<float>());
  }

  // A prompt in one step. Where this run would choose other experts than `forced` did, it must take those of `forced`,
  // weighed by its own logits.
  TracedRun RunPrompt(std::span<const int32_t> prompt, ActivationMode activations, const Trace* forced = nullptr) {
    Pipeline pipeline(model_, {.activations = activations, .kv_type = KvType::kF32});
    TracedRun run;
    std::vector<int32_t> experts;
    std::vector<float> weights;
    pipeline.slice(0).ObserveRoutes([&](int64_t layer, Routes& routes, Tensor logits) {
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
    });
    std::vector<int32_t> rows(prompt.size());
    std::iota(rows.begin(), rows.end(), 0);
    run.logits = pipeline.Feed(prompt, rows);
    return run;
  }

  // Routes with a selection bias that leaves no choice.
  void Choose(int64_t layer, std::span<const float> logits, std::span<const int32_t> wanted, std::span<int32_t> experts,
              std::span<float> weights) {
    std::vector<float> bias(logits.size(), 0.0f);
    for (const int32_t expert : wanted) bias[expert] = 1e6f;
    Router(spec_.layers[layer].routed->routing).Route(logits, bias, experts, weights);
    ASSERT_EQ(Sorted(experts), std::vector<int32_t>(wanted.begin(), wanted.end()));
  }

  // How far the logits of the F32 run, on a straight way to those of the rounded run, go before the choice tips: the
  // largest change of a logit there.
  float Margin(int64_t layer, std::span<const float> from, std::span<const float> to) {
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

  // recorded: positions whose logits the oracle has, from its row first_row onwards.
  void CheckPrompt(const std::vector<int32_t>& prompt, const std::vector<int32_t>& recorded, size_t first_row);
  // exact: of the F32 run; noisy: of the rounded run with the same experts, so the noise is that of rounding alone.
  void CheckTips(const Trace& exact, const Trace& noisy);

  OracleModel model_;
  ModelSpec spec_;
  LogitRows exact_, rounded_;
};

// The first position at which the runs chose different experts in some layer; the prompt's length if there is none.
int64_t FirstTip(const Trace& a, const Trace& b, size_t positions) {
  size_t first = positions;
  for (const auto& [layer, trace] : a) {
    const auto& other = b.at(layer).experts;
    const auto difference = std::mismatch(trace.experts.begin(), trace.experts.end(), other.begin());
    first = std::min<size_t>(first, difference.first - trace.experts.begin());
  }
  return static_cast<int64_t>(first);
}

double Rms(std::span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

void Int8Oracle::CheckTips(const Trace& exact, const Trace& noisy) {
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

void Int8Oracle::CheckPrompt(const std::vector<int32_t>& prompt, const std::vector<int32_t>& recorded,
                             size_t first_row) {
  const TracedRun in_float = RunPrompt(prompt, ActivationMode::kF32);
  const TracedRun unforced = RunPrompt(prompt, ActivationMode::kInt8);
  const TracedRun forced = RunPrompt(prompt, ActivationMode::kInt8, &in_float.trace);
  CheckTips(in_float.trace, forced.trace);
  const int64_t first_tip = FirstTip(unforced.trace, in_float.trace, prompt.size());
  for (size_t i = 0; i < recorded.size(); ++i) {
    const std::vector<float>& row = forced.logits[recorded[i]];
    const float error =
        std::min(MaxAbsDifference(row, exact_[first_row + i]), MaxAbsDifference(row, rounded_[first_row + i]));
    EXPECT_LE(error, Tolerance()) << "position " << recorded[i];
  }
  // Before the first tip both rounded runs are one.
  for (int64_t t = 0; t < first_tip; ++t) {
    EXPECT_EQ(unforced.logits[t], forced.logits[t]) << "position " << t;
  }
}

TEST_P(Int8Oracle, MatchesButForTippedExperts) {
  const std::vector<int32_t> prompt = model_.Ids("prompt_long");
  CheckPrompt(prompt, {kRecordedRow, static_cast<int32_t>(prompt.size()) - 1}, 0);
  const std::vector<int32_t> other = model_.Ids("prompt_short");
  CheckPrompt(other, {static_cast<int32_t>(other.size()) - 1}, 2);
}

TEST_P(Int8Oracle, ContinuesGreedilyAsTheReference) {
  if (model_.quantized() && !model_.facts.at("greedy_equals_dequantized").get<bool>()) {
    return;  // The reference's own two runs continue differently.
  }
  Pipeline pipeline(model_, {.activations = ActivationMode::kInt8, .kv_type = KvType::kF32});
  std::vector<float> gaps;
  const std::vector<int32_t> ids = pipeline.Greedy(model_.Ids("prompt_long"), kGreedyTokens, &gaps);
  const std::vector<int32_t> want = model_.Ids("greedy_ids");
  const auto difference = std::mismatch(ids.begin(), ids.end(), want.begin());
  if (difference.first != ids.end()) {
    const size_t step = difference.first - ids.begin();
    EXPECT_LE(model_.facts.at("greedy_gap")[step].get<float>(), Tolerance()) << "greedy token " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Int8Oracle, testing::ValuesIn(OracleNames()),
                         [](const auto& info) { return OracleTestName(info.param); });

}  // namespace
}  // namespace barn
