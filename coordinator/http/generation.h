#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/http/mailbox.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// The engine requests of one HTTP request, one for each choice. What still runs is cancelled when this goes away,
// whatever the reason: answer complete, client gone, server stopping. One thread.
class Generation {
 public:
  // `wake` as for Mailbox. `engine` must outlive this.
  Generation(Engine& engine, std::function<void()> wake);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Submits the requests in order, not more than at_once; the others follow as those before them end. On the first
  // refusal returns it, and those before are cancelled.
  absl::Status Start(std::vector<GenerateRequest> requests, size_t at_once = SIZE_MAX);

  // What came since the last call, in order for each choice.
  std::vector<ChoiceUpdate> Take();

  // The choice needs no more tokens.
  void Cancel(size_t choice);

 private:
  static constexpr int64_t kEnded = -1;

  absl::Status SubmitNext();
  // Makes room for the next. A refusal counts as the end of the one that was refused; a full queue waits while others
  // of this request run.
  void GoOn(std::vector<ChoiceUpdate>& updates);

  Engine& engine_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::vector<GenerateRequest> requests_;  // From ids_.size() on: not submitted yet.
  size_t running_ = 0;
  size_t at_once_ = SIZE_MAX;
  std::vector<int64_t> ids_;  // By choice; kEnded: nothing to cancel.
};

}  // namespace barn
