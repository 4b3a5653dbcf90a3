#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/scheduler/kv_blocks.h"
#include "coordinator/scheduler/request.h"
#include "coordinator/text/sampler.h"

namespace barn {

// A request on its way. 0 <= computed <= scheduled <= tokens.size() + 1: the workers have returned the first `computed`
// tokens, and the first `scheduled` are sent, perhaps with the one after the last that is known here (takes_best in
// cluster.proto). There is no prompt phase: what is known and not yet scheduled is work.
struct Sequence {
  Sequence(int64_t id, GenerateRequest request, uint64_t fallback_seed);

  int64_t id;
  GenerateRequest request;  // Its prompt has moved to `tokens`.
  Sampler sampler;
  std::vector<int32_t> tokens;  // Prompt, then what was drawn.
  int64_t prompt_tokens;
  int64_t scheduled = 0;
  int64_t computed = 0;
  std::vector<int32_t> blocks;  // Reserved at admission for the longest answer.
  int64_t blocks_sent = 0;      // Workers know the first so many.
  int steps_in_flight = 0;
  int64_t last_step = 0;  // The last step that took rows of it; the least recent goes first.
  bool finished = false;  // The caller has its last update; only steps in flight keep it.

  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - scheduled; }
  bool decoding() const { return scheduled >= prompt_tokens; }
  // The last drawn token is never computed, so it takes no position.
  int64_t positions_max() const { return prompt_tokens + std::max<int64_t>(0, request.max_tokens - 1); }
};

struct RequestBounds {
  int64_t vocabulary = 0;
  int64_t sequence_tokens_max = 0;
};

// InvalidArgument names the parameter and the numbers.
absl::Status CheckRequest(const GenerateRequest& request, const RequestBounds& bounds);

// Requests in the order of arrival: first they wait, then they run. A request runs once the KV blocks of its longest
// possible answer are reserved. That takes more than it may use, but a running request then never waits for memory, so
// that nothing can deadlock and nothing is preempted. Admission never overtakes, so that a long request is not starved.
class Sequences {
 public:
  void Add(int64_t id, GenerateRequest request, uint64_t fallback_seed) {
    waiting_.emplace_back(id, std::move(request), fallback_seed);
  }
  // Moves waiting requests to the running ones as long as there are blocks and places.
  void Admit(int64_t running_max);
  // Running requests only; null for unknown ids.
  Sequence* FindRunning(int64_t id);
  bool Contains(int64_t id) const;
  // False when no such request waits.
  bool RemoveWaiting(int64_t id);
  // Gives the blocks back; the workers forget it with the next step.
  void Release(int64_t id);
  // Ids that workers may forget, once.
  std::vector<int64_t> TakeReleased() { return std::exchange(released_, {}); }
  // Forgets every request and all blocks; the pool of a new plan is `blocks`.
  void Reset(KvBlocks blocks);

  std::map<int64_t, Sequence>& running() { return running_; }
  const std::map<int64_t, Sequence>& running() const { return running_; }
  const std::deque<Sequence>& waiting() const { return waiting_; }
  const KvBlocks& blocks() const { return blocks_; }

 private:
  KvBlocks blocks_;
  std::deque<Sequence> waiting_;
  std::map<int64_t, Sequence> running_;  // By id, which is the order of arrival.
  std::vector<int64_t> released_;
};

}  // namespace barn
