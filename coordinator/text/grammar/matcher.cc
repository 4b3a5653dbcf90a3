#include "coordinator/text/grammar/matcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn::grammar {

Matcher::Matcher(std::shared_ptr<Matchers> all, std::shared_ptr<Automaton> automaton)
    : all_(std::move(all)),
      automaton_(std::move(automaton)),
      state_(automaton_->start()),
      generation_(automaton_->generation()),
      ended_(!automaton_->CanGoOn(state_)) {}

absl::Status Matcher::Sync() {
  if (generation_ == automaton_->generation()) return absl::OkStatus();
  state_ = automaton_->start();
  for (const int32_t token : taken_) {
    BARN_ASSIGN_OR_RETURN(state_, automaton_->AfterToken(state_, token));
  }
  generation_ = automaton_->generation();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const TokenMask>> Matcher::Mask() {
  all_->MakeRoom();
  BARN_RETURN_IF_ERROR(Sync());
  BARN_ASSIGN_OR_RETURN(std::shared_ptr<const TokenMask> mask, automaton_->Mask(state_));
  if (mask->allowed() == 0 && !ended_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("after %d tokens no token of this model's vocabulary fits the grammar", taken_.size()));
  }
  return mask;
}

absl::Status Matcher::Accept(int32_t token) {
  BARN_RETURN_IF_ERROR(Sync());
  const absl::Status refused = absl::InvalidArgumentError(
      absl::StrFormat("token %d does not fit the grammar after %d tokens", token, taken_.size()));
  if (ended_) return refused;
  if (automaton_->Ends(state_, token)) {
    ended_ = true;
    return absl::OkStatus();
  }
  BARN_ASSIGN_OR_RETURN(const Automaton::State next, automaton_->AfterToken(state_, token));
  if (next == Automaton::kDead) return refused;
  state_ = next;
  taken_.push_back(token);
  ended_ = !automaton_->CanGoOn(state_);
  return absl::OkStatus();
}

bool Matcher::CanEnd() { return ended_ || (Sync().ok() && automaton_->CanEnd(state_)); }

Matcher Matchers::Start(const Constraint& constraint) {
  auto found = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& entry) { return entry.grammar.lock() == constraint.grammar; });
  if (found == entries_.end()) {
    entries_.insert(entries_.begin(),
                    {constraint.grammar, std::make_shared<Automaton>(constraint.grammar, constraint.tokens)});
  } else {
    std::rotate(entries_.begin(), found, found + 1);
  }
  const std::shared_ptr<Automaton> automaton = entries_.front().automaton;
  MakeRoom();
  return Matcher(shared_from_this(), automaton);
}

int64_t Matchers::memory_bytes() const {
  int64_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.automaton->memory_bytes();
  return bytes;
}

void Matchers::MakeRoom() {
  int64_t bytes = memory_bytes();
  const auto idle = [](const Entry& entry) { return entry.automaton.use_count() == 1; };
  size_t idles = std::count_if(entries_.begin(), entries_.end(), idle);
  for (size_t i = entries_.size(); i-- > 0 && (bytes > limits_.bytes_max || idles > limits_.idle_max);) {
    if (!idle(entries_[i])) continue;
    bytes -= entries_[i].automaton->memory_bytes();
    --idles;
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  while (bytes > limits_.bytes_max) {
    const auto largest = std::max_element(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
      return a.automaton->memory_bytes() < b.automaton->memory_bytes();
    });
    const int64_t before = largest->automaton->memory_bytes();
    largest->automaton->Reset();
    const int64_t freed = before - largest->automaton->memory_bytes();
    if (freed <= 0) return;
    bytes -= freed;
  }
}

}  // namespace barn::grammar
