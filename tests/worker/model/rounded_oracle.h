#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/worker/model/oracle_model.h"
#include "worker/model/architectures.h"

namespace barn {

// Models of oracles/arch on a device that rounds activations to int8 where weights are quantized (see the README.md
// there for the tolerances). Where two experts are almost equal, rounding may tip the choice, and from there on the
// rounded run is another one. So each model runs in F32 on the CPU, rounded, and rounded with the experts of the F32
// run, which has nothing to tip.
class RoundedOracle : public testing::TestWithParam<std::string> {
 protected:
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

  void SetUp() override;

  // Of a logit: what the README.md asks of F32 arithmetic, or twice what rounding moved in the reference.
  float Tolerance() const;

  // Both prompts, the long one last, with the experts of the F32 run.
  void CheckPrompts(Pipeline& pipeline);
  // With its own experts a run is the forced one's, bit for bit, up to the first position where a choice tipped.
  void CheckUnforced(Pipeline& pipeline);
  // `tokens` steps of one token behind the long prompt, which the pipeline has just seen: the reference's next token is
  // the best unless its two best were closer than the tolerance.
  void CheckNextTokens(Pipeline& pipeline, int tokens);

  OracleModel model_;

 private:
  // Routes with a selection bias that leaves no choice.
  void Choose(int64_t layer, std::span<const float> logits, std::span<const int32_t> wanted, std::span<int32_t> experts,
              std::span<float> weights);
  // How far the logits of the F32 run, on a straight way to those of the rounded run, go before the choice tips: the
  // largest change of a logit there.
  float Margin(int64_t layer, std::span<const float> from, std::span<const float> to);
  // A prompt in one step. Where this run would choose other experts than `forced` did, it must take those of `forced`,
  // weighed by its own logits.
  TracedRun RunPrompt(Pipeline& pipeline, std::span<const int32_t> prompt, const Trace* forced = nullptr);
  // Of the F32 run.
  const Trace& Exact(const std::vector<int32_t>& prompt);
  // recorded: positions whose logits the oracle has, from its row first_row onwards.
  void CheckPrompt(Pipeline& pipeline, const std::vector<int32_t>& prompt, const std::vector<int32_t>& recorded,
                   size_t first_row);
  // exact: of the F32 run; noisy: of the rounded run with the same experts, so the noise is that of rounding alone.
  void CheckTips(const Trace& exact, const Trace& noisy);

  ModelSpec spec_;
  std::map<std::vector<int32_t>, Trace> traces_;
  LogitRows exact_, rounded_;
};

}  // namespace barn
