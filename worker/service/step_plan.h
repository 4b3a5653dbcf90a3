#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"
#include "worker/model/slice.h"
#include "worker/service/block_tables.h"
#include "worker/service/logits.h"

namespace barn {

// What a step request is checked against.
struct StepLimits {
  int64_t step_tokens_max = 0;
  int64_t vocabulary = 0;
  int64_t context_tokens = 0;
  bool is_last = false;
  int64_t width = 0;
  bool encoder = false;     // Sequences come whole; nothing but pooling may be asked of them.
  bool has_scores = false;  // POOLING_SCORE may be asked.
};

// One row whose logits the last stage wants.
struct LogitRow {
  int32_t row = 0;    // In the step.
  int sequence = 0;   // Index in the request.
  int target = -1;    // Index in targets, or -1.
  bool last = false;  // The sequence's last row, and candidates or full logits are wanted of it.
  bool more = false;  // A row before it, and candidates are wanted of it.
};

// What a sequence's embedding is made of: rows [first, first + count) of StepPlan::hidden_rows, or entry `first` of
// score_rows.
struct PooledRows {
  int sequence = 0;  // Index in the request.
  int64_t first = 0;
  int64_t count = 0;
  bool score = false;
};

// The best candidate of each sequence of which a step wanted exactly one, by sequence id.
using BestCandidates = std::map<int64_t, int32_t>;

// A step request after all checks, ready for a slice. Borrows from the request, the block tables and the candidates.
struct StepPlan {
  std::vector<SequenceStep> sequences;
  std::vector<std::vector<LogitChange>> changes;    // By sequence.
  std::vector<LogitMask> masks;                     // By sequence.
  std::vector<std::vector<AdapterScale>> adapters;  // By sequence.
  std::vector<LogitRow> logit_rows;                 // This and the next are empty unless this is the last stage.
  std::vector<PooledRows> pooled;
  std::vector<int32_t> hidden_rows;  // In the step.
  std::vector<int32_t> score_rows;
  int64_t rows = 0;
};

// Applies releases and block table differences and checks everything else first. InvalidArgument or ResourceExhausted,
// with the sequence and the numbers. `best`: of the step before.
absl::StatusOr<StepPlan> PlanStep(const proto::StepRequest& request, const StepLimits& limits,
                                  const BestCandidates& best, BlockTables& tables);

}  // namespace barn
