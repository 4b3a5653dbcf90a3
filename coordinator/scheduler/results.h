#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/scheduler/batcher.h"
#include "coordinator/scheduler/request.h"
#include "coordinator/scheduler/sequences.h"
#include "proto/cluster.pb.h"

namespace barn {

// The result of each slice of `step`, in order; null where the slice asked for nothing and the worker said nothing. The
// message comes from the wire: InvalidArgument when a sequence is unknown, repeated or missing, when a count differs
// from what was asked, when an id lies outside the vocabulary, when candidates are not best first, or when a number is
// NaN.
absl::StatusOr<std::vector<const proto::SequenceResult*>> MatchResults(const BatchStep& step,
                                                                       const proto::StepResult& result,
                                                                       int64_t vocabulary);

// Enters what a step computed for one slice into its sequence: scores of prompt tokens, and the token that is drawn
// after the last row. `result` has passed MatchResults. Returns why the request is over, kNone when it goes on.
FinishReason ApplyResult(const StepSlice& slice, const proto::SequenceResult* result, const std::set<int32_t>& end_ids,
                         Sequence& sequence, RequestUpdate& update);

}  // namespace barn
