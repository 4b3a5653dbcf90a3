#include "coordinator/http/generation.h"

#include <utility>

namespace barn {

Generation::Generation(Engine& engine, std::function<void()> wake)
    : engine_(engine), mailbox_(std::make_shared<Mailbox>(std::move(wake))) {}

Generation::~Generation() {
  mailbox_->Close();
  for (size_t choice = 0; choice < ids_.size(); ++choice) Cancel(choice);
}

absl::Status Generation::SubmitNext() {
  const size_t choice = ids_.size();
  auto id = engine_.Submit(requests_[choice], [mailbox = mailbox_, choice](RequestUpdate update) {
    mailbox->Push({.choice = choice, .update = std::move(update)});
  });
  if (!id.ok()) return std::move(id).status();
  requests_[choice] = {};
  ids_.push_back(*id);
  ++running_;
  return absl::OkStatus();
}

absl::Status Generation::Start(std::vector<GenerateRequest> requests, size_t at_once) {
  requests_ = std::move(requests);
  at_once_ = at_once;
  while (ids_.size() < requests_.size() && running_ < at_once_) {
    absl::Status status = SubmitNext();
    if (absl::IsResourceExhausted(status) && running_ > 0 && at_once_ < requests_.size()) break;
    if (status.ok()) continue;
    for (size_t earlier = 0; earlier < ids_.size(); ++earlier) Cancel(earlier);
    return status;
  }
  return absl::OkStatus();
}

void Generation::GoOn(std::vector<ChoiceUpdate>& updates) {
  while (ids_.size() < requests_.size() && running_ < at_once_) {
    absl::Status status = SubmitNext();
    if (status.ok()) continue;
    if (absl::IsResourceExhausted(status) && running_ > 0) return;
    RequestUpdate refused;
    refused.finish = FinishReason::kError;
    refused.status = std::move(status);
    updates.push_back({.choice = ids_.size(), .update = std::move(refused)});
    ids_.push_back(kEnded);
  }
}

std::vector<ChoiceUpdate> Generation::Take() {
  std::vector<ChoiceUpdate> updates = mailbox_->Take();
  for (const ChoiceUpdate& item : updates) {
    if (item.update.finish == FinishReason::kNone) continue;
    ids_[item.choice] = kEnded;
    --running_;
  }
  GoOn(updates);
  return updates;
}

void Generation::Cancel(size_t choice) {
  const int64_t id = std::exchange(ids_[choice], kEnded);
  if (id != kEnded) engine_.Cancel(id);
}

}  // namespace barn
