#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "coordinator/scheduler/request.h"
#include "coordinator/scheduler/sequences.h"
#include "proto/cluster.pb.h"

namespace barn {

// The `count` best of a result's candidates with their log probabilities.
std::vector<TokenLogprob> TopLogprobs(const google::protobuf::RepeatedField<int32_t>& ids,
                                      const google::protobuf::RepeatedField<float>& logits, double logsumexp,
                                      int count);

// Draws the token after the sequence's last one from `result`, which has passed MatchResults, and appends it. What the
// caller may see goes to `update`. Where the new token completes a banned string, the tokens back to the one in which
// the string begins are taken back, that one is never drawn at its place again, and another is drawn there from the
// candidates that it had. Returns kEnd, kLength when more was taken back than any answer is worth, kError (with
// update.status) when nothing else can be said, else kNone.
FinishReason DrawToken(const proto::SequenceResult& result, const std::set<int32_t>& end_ids, Sequence& sequence,
                       RequestUpdate& update);

// The same where `draft` was computed behind the sequence's last token: draws one token after the other, each from the
// row of its place, as long as they are what was guessed. So it draws what single steps would have drawn. The rows of
// guesses that came true are added to `computed`. Only where may_draft().
FinishReason DrawDrafted(std::span<const int32_t> draft, const proto::SequenceResult& result,
                         const std::set<int32_t>& end_ids, Sequence& sequence, RequestUpdate& update);

// Hands out what is held, except for the newest `keep`.
void ReleaseHeld(int64_t keep, Sequence& sequence, RequestUpdate& update);

}  // namespace barn
