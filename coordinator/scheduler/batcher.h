#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/scheduler/drafts.h"
#include "coordinator/scheduler/sequences.h"
#include "coordinator/scheduler/step_times.h"
#include "proto/cluster.pb.h"

namespace barn {

// Rows of one sequence in a step, and what was asked of the last stage for them.
struct StepSlice {
  int64_t sequence_id = 0;
  int64_t first_position = 0;
  int64_t rows = 0;
  int64_t candidates = 0;    // For the last row; 0: none wanted.
  bool takes_best = false;   // Its one token is not known here yet.
  bool deviation = false;    // Of the last row's logits.
  bool full_logits = false;  // Of the last row.
  int64_t targets = 0;       // Of the last so many rows. The target of a row is the token after it.
  int64_t target_candidates = 0;
  Pooling pooling = Pooling::kNone;                          // kMean: the sum of these rows.
  int64_t embedding_floats = 0;                              // What `pooling` gives.
  std::shared_ptr<const grammar::TokenMask> mask = nullptr;  // What candidates may be; null: anything.
  // Guesses of the tokens behind the known ones, in the last so many rows. They have candidates, too, and are checked
  // one by one.
  std::vector<int32_t> draft = {};
};

// A step in flight.
struct BatchStep {
  int64_t id = 0;
  absl::Time sent;
  std::vector<StepSlice> slices;
  int64_t decoding_rows = 0;
  int64_t prompt_rows = 0;
};

struct BatchLimits {
  int64_t step_tokens_max = 512;
  int stages = 1;
  int64_t vocabulary = 0;
  int64_t embedding_floats = 0;          // See CoreOptions.
  const StepTimes* times = nullptr;      // Null: prompts take what there is.
  absl::Duration stall_max = {};         // What prompts may add to the time between two tokens of a sequence.
  const StepCost* draft_cost = nullptr;  // Null: nothing is drafted.
};

// Chooses the rows of the next step and writes them to `request`, without epoch; a step without slices when there is
// nothing to do. Decoding sequences go first, up to their share of one micro-batch (of `stages` micro-batches), then
// prompts fill the budget in chunks. In both groups the highest priority goes first; of the same priority, where not
// everybody fits, the tenant whose turn it is; then who was served least recently. While prompts wait, a quarter of the
// budget stays theirs, so neither group can starve the other; and while somebody decodes, a chunk takes at most
// `stall_max`. Of prompts that go on in the same way, one is computed and the others wait for its blocks. Who has no
// block for its next token, and cannot get one now, is left out. Sequences that must come whole get all of their rows
// or wait for a later step. While no prompt is computed, guesses of what decoding sequences say next take rows and
// blocks that are left, where they pay.
BatchStep BuildStep(const BatchLimits& limits, int64_t step_id, Sequences& sequences, proto::StepRequest& request);

// The step after `before`, which is in flight, for the same sequences with the tokens that `before` will yield: drawn
// from one candidate, they are known to the worker first. So one stage need not wait for the coordinator between two
// steps of greedy sequences. Without slices where that cannot be: some token of `before` is not certain, edits depend
// on it, all end with it, or others have rows to compute.
BatchStep BuildFollowingStep(const BatchLimits& limits, int64_t step_id, const BatchStep& before, Sequences& sequences,
                             proto::StepRequest& request);

// Rows of prompts for one step, `pending` being all prompt tokens that are known and not scheduled. One stage takes
// what fits. Several stages overlap only when a prompt is cut into several chunks: with 8 chunks per stage, filling and
// draining the pipeline costs (stages - 1) / (8 * stages) of the time; below 32 rows the weights would be read too
// often.
int64_t PromptRows(int64_t pending, int stages, int64_t step_tokens_max);

}  // namespace barn
