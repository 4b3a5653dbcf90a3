#include "coordinator/http/generation.h"

#include <utility>

namespace barn {

Generation::Generation(Engine& engine, std::function<void()> wake)
    : engine_(engine), mailbox_(std::make_shared<Mailbox>(std::move(wake))) {}

Generation::~Generation() {
  mailbox_->Close();
  for (size_t choice = 0; choice < ids_.size(); ++choice) Cancel(choice);
}

absl::Status Generation::Start(std::vector<GenerateRequest> requests) {
  for (size_t choice = 0; choice < requests.size(); ++choice) {
    auto id = engine_.Submit(std::move(requests[choice]), [mailbox = mailbox_, choice](RequestUpdate update) {
      mailbox->Push({.choice = choice, .update = std::move(update)});
    });
    if (!id.ok()) {
      for (size_t earlier = 0; earlier < ids_.size(); ++earlier) Cancel(earlier);
      return std::move(id).status();
    }
    ids_.push_back(*id);
  }
  return absl::OkStatus();
}

std::vector<ChoiceUpdate> Generation::Take() {
  std::vector<ChoiceUpdate> updates = mailbox_->Take();
  for (const ChoiceUpdate& item : updates) {
    if (item.update.finish != FinishReason::kNone) ids_[item.choice] = kEnded;
  }
  return updates;
}

void Generation::Cancel(size_t choice) {
  const int64_t id = std::exchange(ids_[choice], kEnded);
  if (id != kEnded) engine_.Cancel(id);
}

}  // namespace barn
