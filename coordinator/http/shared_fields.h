#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/http/answer_form.h"
#include "coordinator/text/sampling/params.h"

namespace barn {

inline constexpr int64_t kChoicesMax = 128;  // Prompts times n of one request.
inline constexpr int64_t kStopsMax = 16;     // OpenAI allows 4.
inline constexpr int64_t kStopBytesMax = 1024;
inline constexpr int64_t kTopLogprobsMax = 20;
inline constexpr int64_t kMaxTokensMax = 2147483647;
inline constexpr int64_t kMessagesMax = 100'000;
inline constexpr double kTimeoutSecondsMax = 7 * 24 * 3600;
inline constexpr int64_t kToolsMax = 1024;

// Fields that all requests for an answer share.
struct SharedFields {
  std::string model;  // Empty: the served one.
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;
  int64_t n = 1;
  std::vector<std::string> stop;                 // None is empty.
  std::optional<std::map<int64_t, float>> lora;  // Scales of adapters by number; see ServedAdapters.
  AnswerForm form;
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;  // Extension: generate max_tokens whatever the model says.
  bool logprobs = false;
  int top_logprobs = 0;
  bool truncate = false;  // Extension: a prompt that is too long loses its oldest tokens instead of being refused.
  absl::Duration timeout = absl::InfiniteDuration();  // Extension: seconds until the answer must be complete.
};

}  // namespace barn
