#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/mailbox.h"

namespace barn {

// Measures one HTTP request that generates, and charges its key for it. One thread.
class RequestMeter {
 public:
  struct Options {
    HttpMetrics& metrics;
    AccessGate* gate = nullptr;                        // Null: nobody is charged.
    std::shared_ptr<const Account> account = nullptr;  // The same.
    std::string model = {};
  };

  RequestMeter(Options options, absl::Time now);
  // What was not charged yet is charged now, and the time of the whole request is entered.
  ~RequestMeter();
  RequestMeter(const RequestMeter&) = delete;
  RequestMeter& operator=(const RequestMeter&) = delete;

  // What it asks for. A prompt that several choices share counts once.
  void Ask(const std::vector<GenerateRequest>& requests);
  // The engine has taken all of it.
  void Accepted(absl::Time now);
  void OnUpdate(const ChoiceUpdate& item, absl::Time now);
  // The text of a choice is complete, though the engine may not know it: a stop string.
  void Done(size_t choice);

  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t generated_tokens() const { return generated_tokens_; }
  absl::Duration to_first_token() const { return to_first_token_; }  // Infinite before it.
  absl::Time began() const { return began_; }

 private:
  void CountFinish(size_t choice, FinishReason reason);
  void Charge(int64_t prompt_tokens, int64_t generated_tokens, int64_t requests, absl::Time now);

  const Options options_;
  const absl::Time began_;
  bool accepted_ = false;
  int64_t prompt_tokens_ = 0;
  int64_t generated_tokens_ = 0;
  int64_t uncharged_tokens_ = 0;
  absl::Duration to_first_token_ = absl::InfiniteDuration();
  std::vector<absl::Time> last_token_;  // By choice; in the infinite past before the first.
  std::vector<bool> ended_;             // By choice.
};

}  // namespace barn
