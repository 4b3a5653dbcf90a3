#include "coordinator/scheduler/core.h"

namespace barn {

EngineState Core::State() const {
  EngineState state;
  state.ready = deployment_.ready();
  state.failed = !deployment_.refusal().ok();
  state.reason = deployment_.Reason(members_);
  for (const auto& [id, member] : members_.by_id()) state.workers.push_back(member.State(now_));
  state.context_tokens_max = state.ready ? deployment_.sequence_tokens_max() : 0;
  state.kv_blocks_total = sequences_.blocks().total();
  state.kv_blocks_free = sequences_.blocks().free();
  state.kv_blocks_cached = sequences_.blocks().cached();
  state.running = static_cast<int64_t>(sequences_.running().size());
  state.waiting = static_cast<int64_t>(sequences_.waiting().size());
  state.requests_total = counters_.requests;
  state.requests_failed_total = counters_.requests_failed;
  state.prompt_tokens_total = counters_.prompt_tokens;
  state.generated_tokens_total = counters_.generated_tokens;
  state.steps_total = counters_.steps;
  state.expert_bytes_read_total = counters_.expert_bytes_read;
  state.preemptions_total = sequences_.preemptions();
  state.requests_recovered_total = counters_.recovered;
  state.prefix_cache_queries_total = sequences_.cache_queries();
  state.prefix_cache_hits_total = sequences_.cache_hits();
  state.draft_tokens_total = counters_.draft_tokens;
  state.draft_accepted_tokens_total = counters_.draft_accepted_tokens;
  state.step_rows = step_rows_;
  state.queue_wait_seconds = queue_wait_seconds_;
  return state;
}

}  // namespace barn
