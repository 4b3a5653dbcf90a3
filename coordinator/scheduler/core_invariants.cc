#include <algorithm>
#include <set>

#include "absl/strings/str_format.h"
#include "coordinator/scheduler/core.h"
#include "proto/base/status.h"

namespace barn {
namespace {

absl::Status Broken(const std::string& what) { return absl::InternalError(what); }

absl::Status CheckSequence(const Sequence& sequence, int64_t block_tokens, int64_t in_flight) {
  if (sequence.computed > sequence.scheduled || sequence.pending() < -1) {
    return Broken(absl::StrFormat("sequence %d: %d computed, %d scheduled of %d tokens", sequence.id, sequence.computed,
                                  sequence.scheduled, sequence.tokens.size()));
  }
  if (sequence.steps_in_flight != in_flight) {
    return Broken(absl::StrFormat("sequence %d counts %d steps in flight, there are %d", sequence.id,
                                  sequence.steps_in_flight, in_flight));
  }
  if (!sequence.running)
    return Broken(absl::StrFormat("sequence %d is among the running ones and is not", sequence.id));
  if (sequence.finished && in_flight == 0) return Broken(absl::StrFormat("sequence %d outlived its end", sequence.id));
  if (sequence.prefix_blocks() > static_cast<int64_t>(sequence.blocks.size()) ||
      sequence.prefix_blocks() * block_tokens > sequence.scheduled) {
    return Broken(absl::StrFormat("sequence %d: %d blocks published, %d tokens scheduled", sequence.id,
                                  sequence.prefix_blocks(), sequence.scheduled));
  }
  if (sequence.blocks_sent > static_cast<int64_t>(sequence.blocks.size()) ||
      sequence.scheduled > static_cast<int64_t>(sequence.blocks.size()) * block_tokens) {
    return Broken(absl::StrFormat("sequence %d: %d tokens scheduled, %d of %d blocks known to the workers", sequence.id,
                                  sequence.scheduled, sequence.blocks_sent, sequence.blocks.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Core::CheckInvariants() const {
  for (const auto* sequences : {&sequences_.running(), &sequences_.waiting()}) {
    for (const auto& [id, sequence] : *sequences) {
      for (const AdapterUse& use : sequence.request.adapters) {
        if (adapters_.Find(use.id) != nullptr) continue;
        return Broken(absl::StrFormat("sequence %d uses adapter %d, which is gone", id, use.id));
      }
    }
  }
  // A single stage may have a step waiting that takes its tokens from the one before.
  if (static_cast<int>(in_flight_.size()) > std::max(deployment_.stages(), 2)) {
    return Broken(absl::StrFormat("%d steps in flight on %d stages", in_flight_.size(), deployment_.stages()));
  }
  std::map<int64_t, int64_t> steps_of;
  for (const BatchStep& step : in_flight_) {
    int64_t rows = 0;
    std::set<int64_t> seen;
    for (const StepSlice& slice : step.slices) {
      rows += slice.rows;
      ++steps_of[slice.sequence_id];
      if (!seen.insert(slice.sequence_id).second || !sequences_.running().contains(slice.sequence_id)) {
        return Broken(absl::StrFormat("step %d has sequence %d twice or after its end", step.id, slice.sequence_id));
      }
    }
    if (rows < 1 || rows > options_.step_tokens_max)
      return Broken(absl::StrFormat("step %d has %d rows", step.id, rows));
  }
  std::map<int32_t, int64_t> holders;
  for (const auto& [id, sequence] : sequences_.running()) {
    BARN_RETURN_IF_ERROR(CheckSequence(sequence, sequences_.blocks().block_tokens(), steps_of[id]));
    for (int32_t block : sequence.blocks) ++holders[block];
    for (size_t i = sequence.prefix_blocks(); i < sequence.blocks.size(); ++i) {
      if (sequences_.blocks().holders(sequence.blocks[i]) != 1) {
        return Broken(
            absl::StrFormat("sequence %d would write to block %d, which others hold", id, sequence.blocks[i]));
      }
    }
  }
  const int64_t used = sequences_.blocks().total() - sequences_.blocks().free();
  if (static_cast<int64_t>(holders.size()) != used) {
    return Broken(absl::StrFormat("%d blocks are held, %d are taken from the pool", holders.size(), used));
  }
  for (const auto& [block, count] : holders) {
    if (sequences_.blocks().holders(block) != count) {
      return Broken(
          absl::StrFormat("block %d has %d holders and counts %d", block, count, sequences_.blocks().holders(block)));
    }
  }
  for (const auto& [id, sequence] : sequences_.waiting()) {
    if (sequence.running || sequence.finished || !sequence.blocks.empty() || sequence.scheduled > 0) {
      return Broken(absl::StrFormat("sequence %d waits and holds %d blocks", id, sequence.blocks.size()));
    }
  }
  const bool idle = sequences_.running().empty() && sequences_.waiting().empty();
  if (!deployment_.ready() && !sequences_.running().empty()) return Broken("a request runs without a plan");
  if (deployment_.ready() && !idle && in_flight_.empty()) return Broken("there is work and no step in flight");
  if (!deployment_.ready() && !idle && recover_until_ > now_ + options_.recovery_max) {
    return Broken("requests wait for a plan without an end");
  }
  if (!deployment_.running()) return absl::OkStatus();
  for (int stage = 0, worker = 0; stage < deployment_.stages(); ++stage) {
    const auto ranks = static_cast<int>(deployment_.plan().stages[stage].ranks.size());
    for (int rank = 0; rank < ranks; ++rank, ++worker) {
      const auto member = members_.by_id().find(deployment_.stage_workers()[worker]);
      if (member == members_.by_id().end() || member->second.stage != stage || member->second.rank != rank) {
        return Broken(absl::StrFormat("rank %d of stage %d has no worker", rank, stage));
      }
      if (member->second.steps_answered > steps_sent_) return Broken("an answer to a step that was not sent");
    }
  }
  return absl::OkStatus();
}

}  // namespace barn
