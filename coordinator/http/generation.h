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

  // Submits all requests in order. On the first refusal returns it, and those before are cancelled.
  absl::Status Start(std::vector<GenerateRequest> requests);

  // What came since the last call, in order for each choice.
  std::vector<ChoiceUpdate> Take();

  // The choice needs no more tokens.
  void Cancel(size_t choice);

 private:
  static constexpr int64_t kEnded = -1;

  Engine& engine_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::vector<int64_t> ids_;  // By choice; kEnded: nothing to cancel.
};

}  // namespace barn
