#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/drafts.h"
#include "coordinator/scheduler/fair_shares.h"
#include "coordinator/scheduler/kv_blocks.h"
#include "coordinator/scheduler/request.h"
#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/sampler.h"
#include "coordinator/text/sampling/banned_strings.h"
#include "coordinator/text/tools/thought_limit.h"

namespace barn {

// A drawn token and what else could have been drawn.
struct HeldDraw {
  GeneratedToken token;
  std::vector<Candidate> candidates;  // Best first.
  LogitSummary all;
  std::optional<grammar::Matcher> matcher = {};  // As they stood before the token.
  std::optional<ThoughtWatch> thoughts = {};
};

// A request on its way. 0 <= computed <= scheduled <= tokens.size() + 1: the workers have returned the first `computed`
// tokens, and the first `scheduled` are sent or were found, perhaps with the one after the last that is known here
// (takes_best in cluster.proto). There is no prompt phase: what is known and not yet scheduled is work. After a
// preemption or the loss of a worker that is everything once more; the sampler, and what the caller has, stay as they
// are.
struct Sequence {
  Sequence(int64_t id, GenerateRequest request, uint64_t fallback_seed);

  int64_t id;
  GenerateRequest request;  // Its prompt has moved to `tokens`.
  Sampler sampler;
  std::optional<grammar::Matcher> matcher;         // Stands behind the last token; absent: the answer is free.
  std::shared_ptr<const grammar::TokenMask> mask;  // What the next token may be.
  std::optional<ThoughtWatch> thoughts;            // Stands behind the last token, too; absent: they have no limit.
  std::string cache_scope;                         // See CacheScope.
  std::vector<int32_t> tokens;                     // Prompt, then what was drawn.
  int64_t prompt_tokens;
  int64_t known_at_start;  // Of `tokens` when it last began to run; up to there it is computed in chunks.
  int64_t scheduled = 0;
  int64_t computed = 0;
  std::vector<int32_t> blocks;  // For everything known when it began to run; more as it grows.
  int64_t blocks_sent = 0;      // Workers know the first so many.
  std::vector<int64_t> prefix;  // Names of those that are published or were found, from the first on.
  int64_t cached_tokens = 0;    // Of the prompt, found when it was first computed.
  int64_t next_score = 0;       // Index of the first prompt token whose score the caller does not have.
  int64_t passed = 0;           // The most that `scheduled` has been.
  int64_t spent = 0;            // Tokens that its tenant was charged,
  int64_t promised = 0;         // and those that its admission was charged.
  absl::Time deadline = absl::InfiniteFuture();
  int64_t overtaken = 0;  // By so many tokens of others, while it was its turn and there was no room.
  int losses = 0;         // Of workers since it last got a token.
  int steps_in_flight = 0;
  int64_t last_step = 0;       // The last step that took rows of it; the least recent goes first.
  std::vector<double> pooled;  // With pooling: what its computed rows give, for means their sum.
  // With banned strings: what was drawn and may still be taken back.
  std::unique_ptr<BannedStrings> banned;
  std::deque<HeldDraw> held;
  NgramDrafter drafter;
  bool running = false;
  bool finished = false;  // The caller has its last update; only steps in flight keep it.

  // Begins to look for banned strings with the next token.
  void WatchBanned();
  int64_t known() const { return static_cast<int64_t>(tokens.size()); }
  int64_t generated() const { return known() - prompt_tokens; }
  int64_t prefix_blocks() const { return static_cast<int64_t>(prefix.size()); }
  int64_t pending() const { return known() - scheduled; }
  bool decoding() const { return scheduled >= known_at_start; }
  // Whether guesses can be checked: what a row may say must not depend on the tokens before it, nor may tokens be taken
  // back.
  bool may_draft() const { return !matcher && banned == nullptr && !request.full_logits && !sampler.LooksBack(); }
  // The last drawn token is never computed, so it takes no position.
  int64_t positions_max() const { return prompt_tokens + std::max<int64_t>(0, request.max_tokens - 1); }
  // Starts first and is preempted last.
  bool GoesBefore(const Sequence& other) const {
    return std::pair(-request.tenant.priority, id) < std::pair(-other.request.tenant.priority, other.id);
  }
};

struct RequestBounds {
  int64_t vocabulary = 0;
  int64_t sequence_tokens_max = 0;
  int64_t whole_tokens_max = 0;  // > 0: an encoder, which reads at most so many at once.
  bool embeddings = true;        // Pooling may be asked, also
  bool scores = false;           // that of the classification head.
};

// InvalidArgument names the parameter and the numbers.
absl::Status CheckRequest(const GenerateRequest& request, const RequestBounds& bounds);

// Requests that wait and requests that run. One runs when there are blocks for all of its tokens that are known; what
// it grows by is taken as it grows. When blocks run out, whoever goes last of those that run waits again and is
// computed once more later, so the first of them always gets on, and everybody in turn.
//
// Who starts next: the highest priority, of those the tenant whose turn it is, of those the first to come. While there
// are no blocks for that one, others of its priority may overtake it, but with no more tokens than it has itself, so
// that a long request neither keeps the short ones waiting nor is starved by them.
class Sequences {
 public:
  // whole: of an encoder, whose positions depend on what comes behind them. Nothing is found or published then.
  explicit Sequences(bool whole = false) : whole_(whole) {}
  bool whole() const { return whole_; }

  // InvalidArgument, or what else Matcher::Mask says: the request's grammar cannot begin.
  absl::Status Add(int64_t id, GenerateRequest request, uint64_t fallback_seed,
                   absl::Time deadline = absl::InfiniteFuture());
  // Lets waiting requests run as long as there are blocks and places.
  void Admit(int64_t running_max);
  // Running requests only; null for unknown ids.
  Sequence* FindRunning(int64_t id);
  Sequence* FindWaiting(int64_t id);
  bool Contains(int64_t id) const { return running_.contains(id) || waiting_.contains(id); }
  void RemoveWaiting(int64_t id);
  // Gives the blocks back; the workers forget it with the next step.
  void Release(int64_t id);
  // Ids that workers may forget, once.
  std::vector<int64_t> TakeReleased() { return std::exchange(released_, {}); }

  // Blocks for so many positions of a running sequence. Requests that go after it are preempted for that, but none with
  // steps in flight; false when that is not enough for now. Addresses of sequences stay.
  bool Reserve(Sequence& sequence, int64_t positions);
  // Positions behind what is known that it has blocks for, or gets while everybody who runs could still take one.
  int64_t RoomBehind(const Sequence& sequence) const {
    const int64_t spare = std::max<int64_t>(0, blocks_.free() - static_cast<int64_t>(running_.size()));
    return (static_cast<int64_t>(sequence.blocks.size()) + spare) * blocks_.block_tokens() - sequence.known();
  }
  // Moves a running sequence past blocks that others have scheduled by now, instead of computing the same.
  void SkipFound(Sequence& sequence);
  // What its next block shall hold if it may be another's; no tokens otherwise.
  KvBlocks::Content NextContent(const Sequence& sequence) const;
  // Everything scheduled is to be found by later steps.
  void Publish(Sequence& sequence);
  // For a sequence that goes back behind blocks that others may read (`scheduled` was lowered): leaves these to them,
  // and computes the beginning of its block again.
  void LeaveShared(Sequence& sequence);
  // Everything up to `end` is sent now. The tenant pays for what is computed for the first time.
  void Advance(Sequence& sequence, int64_t end);
  double Clock(const Sequence& sequence) const { return served_.Clock(sequence.request.tenant); }

  // The plan is void: what runs waits again, but for those that were finished.
  void Suspend();
  // The pool of a new plan. Nothing runs.
  void SetPool(KvBlocks blocks) { blocks_ = std::move(blocks); }

  std::map<int64_t, Sequence>& running() { return running_; }
  const std::map<int64_t, Sequence>& running() const { return running_; }
  const std::map<int64_t, Sequence>& waiting() const { return waiting_; }
  const KvBlocks& blocks() const { return blocks_; }
  int64_t preemptions() const { return preemptions_; }
  // Prompt tokens that were looked for in the prefix cache, and those that were found.
  int64_t cache_queries() const { return cache_queries_; }
  int64_t cache_hits() const { return cache_hits_; }

 private:
  absl::Status StartGrammar(Sequence& sequence);
  // Of those that wait, at most `count`, in the order in which they are to start.
  std::vector<Sequence*> NextToAdmit(size_t count);
  // Lets one of those behind `first`, for which there is no room, overtake it.
  bool StartBehind(Sequence& first);
  bool Start(Sequence& sequence);
  // What it may cost from here on.
  int64_t Promise(const Sequence& sequence) const {
    return sequence.pending() + std::min(sequence.request.max_tokens, static_cast<int64_t>(answer_tokens_));
  }
  void Stop(Sequence& sequence);
  Sequence* LastBehind(const Sequence& sequence);
  void CountFound(Sequence& sequence, int64_t end);
  void EndAccount(const Sequence& sequence);
  KvBlocks::Content ContentAt(const Sequence& sequence, int64_t begin) const;

  const bool whole_;
  KvBlocks blocks_;
  std::map<int64_t, Sequence> waiting_;  // By id, which is the order of arrival.
  std::map<int64_t, Sequence> running_;
  std::vector<int64_t> released_;
  FairShares admitted_;         // By what those that run may cost.
  FairShares served_;           // By what they have cost.
  double answer_tokens_ = 128;  // Of a request, on average lately.
  int64_t blocked_free_ = -1;   // >= 0: the next one could not start with so many free blocks, and will not with less.
  int64_t preemptions_ = 0;
  int64_t cache_queries_ = 0;
  int64_t cache_hits_ = 0;
  std::shared_ptr<grammar::Matchers> matchers_ = grammar::Matchers::Create();
};

}  // namespace barn
