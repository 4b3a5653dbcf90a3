#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/device.h"
#include "proto/cluster.pb.h"
#include "worker/exchange/collective.h"
#include "worker/exchange/hop.h"
#include "worker/model/slice.h"
#include "worker/service/block_tables.h"
#include "worker/service/step_plan.h"

namespace barn {

struct StageOptions {
  int64_t epoch = 0;
  StepLimits limits;
  BlockTables::Bounds kv;
  std::shared_ptr<Slice> slice;
  Device* device = nullptr;                       // The slice's. Outlives the stage, as does the receiver.
  HopReceiver* receiver = nullptr;                // Null on the first stage.
  std::unique_ptr<HopSender> sender;              // Null on the last stage.
  std::unique_ptr<Collective> collective;         // Null where one worker runs the stage.
  absl::Duration frame_wait = absl::Minutes(10);  // How long the stage before, or another rank, may take.
};

// One position in the pipeline of one epoch: runs its slice, step by step. One thread at a time.
class Stage {
 public:
  explicit Stage(StageOptions options) : options_(std::move(options)), tables_(options_.kv) {}

  // Waits for the activations of the stage before, computes, hands on; on the last stage returns what each sequence
  // asked for. Errors of the request, of the hops, of the slice; a step that is out of order is InvalidArgument.
  // Only rank 0 returns results. `stop` ends waits for other ranks.
  absl::StatusOr<proto::StepResult> Run(const proto::StepRequest& request, const std::stop_token& stop = {});

  int64_t epoch() const { return options_.epoch; }
  bool has_ranks() const { return options_.collective != nullptr; }

 private:
  absl::Status Compute(const proto::StepRequest& request, const StepPlan& plan, const StepInput& input,
                       proto::StepResult& result);
  absl::Status ComputeLogits(const proto::StepRequest& request, const StepPlan& plan, const StepInput& input,
                             proto::StepResult& result);
  // What embeddings are made of, from the rows that StepPlan::hidden_rows and score_rows name.
  void AddEmbeddings(const StepPlan& plan, proto::StepResult& result) const;
  // What the sequences of some rows with logits asked for.
  void AddScores(const proto::StepRequest& request, std::span<const LogitRow> rows, Tensor logits,
                 proto::StepResult& result);
  void AddLastRows(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows,
                   Tensor logits, proto::StepResult& result);
  // Ranks, after edits and masks, the rows of which candidates are wanted and `wanted` is true.
  void RankLastRows(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows,
                    Tensor logits, absl::FunctionRef<bool(const LogitRow&, const proto::StepSequence&)> wanted,
                    absl::FunctionRef<void(const LogitRow&, const LogitRanking&)> use);
  // For a rank that returns nothing: notes the best candidates, which the next step may take.
  void RankBest(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows, Tensor logits);
  void NoteBest(int64_t sequence_id, const LogitRanking& ranking);

  StageOptions options_;
  BlockTables tables_;
  int64_t last_step_ = INT64_MIN;
  std::vector<float> activations_;  // [step_tokens_max, D], what the next stage gets.
  std::vector<float> hidden_;       // [hidden rows, D]
  std::vector<float> scores_;       // [score rows]
  std::vector<LogitRanking> rankings_;
  BestCandidates best_;       // Of the last step.
  BestCandidates best_next_;  // Of the one that runs.
};

}  // namespace barn
