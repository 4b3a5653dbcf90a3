#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/sampling/params.h"

namespace barn {

struct ThoughtLimit;

inline constexpr int kTenantWeightMax = 1000;
inline constexpr int kPriorityMax = 100;
inline constexpr size_t kTenantBytesMax = 256;

// Who asks, as far as scheduling cares. The front end fills it in from what it knows of the caller (an API key), never
// from what a client says of itself.
struct Tenant {
  std::string name;  // Requests of one name share cached prefixes and a part of the cluster. "": nobody in particular.
  int weight = 1;    // Its part where tenants compete: tokens in proportion to the weights. 1..kTenantWeightMax.
  int priority = 0;  // A higher one starts first and is preempted last. -kPriorityMax..kPriorityMax.
};

// Payloads of a ResourceExhausted status: seconds, as text, until a place is likely; and, with any value, that the
// limit is the tenant's own, so that others may still come.
inline constexpr char kRetryAfterPayload[] = "barn/retry-after-s";
inline constexpr char kTenantLimitPayload[] = "barn/tenant-limit";

// An adapter of the served model that all tokens of a request pass through.
struct AdapterUse {
  int64_t id = 0;   // As the cluster knows it, not 0.
  float scale = 1;  // Beside the adapter's own.
};

// How a prompt becomes one vector. kFirst, kLast: that row of the final hidden states; kMean: their mean; kScore: what
// the model's classification head says, one number.
enum class Pooling { kNone, kFirst, kLast, kMean, kScore };

// What a caller wants generated or scored. Token ids come from the tokenizer; text matters (stop strings, detokenizing)
// stay with the caller, so that the core knows only ids.
struct GenerateRequest {
  std::vector<int32_t> prompt;  // Not empty.
  int64_t max_tokens = 16;      // Generated tokens; 0 scores the prompt only.
  SamplingParams sampling;
  int top_logprobs = 0;      // Best candidates to report with each token.
  bool ignore_end = false;   // Go on after an end-of-generation token.
  bool full_logits = false;  // Return every logit of each drawn position (before edits).
  int64_t score_from = -1;   // >= 0: also report log probabilities of prompt tokens at index >= max(1, score_from).
  int score_top_logprobs = 0;
  Tenant tenant;
  absl::Duration timeout = absl::InfiniteDuration();  // From submission to the last token; then DeadlineExceeded.
  grammar::Constraint constraint;                     // What the answer may be; not with ignore_end.
  std::shared_ptr<const ThoughtLimit> thoughts;       // How long the answer may think; null: as it likes.
  std::vector<AdapterUse> adapters;
  Pooling pooling = Pooling::kNone;  // Not kNone: the prompt's embedding is wanted, and nothing else (max_tokens 0).
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

// One generated token.
struct GeneratedToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top;   // top_logprobs entries, best first.
  std::vector<float> full_logits;  // [V] when asked for.
};

struct PromptScore {
  int64_t index = 0;  // Of the prompt token that was scored.
  int32_t id = 0;
  double logprob = 0;
  bool best = false;
  std::vector<TokenLogprob> top;
};

// kEnd: the last token is an end-of-generation token. kLength: max_tokens were generated.
enum class FinishReason { kNone, kLength, kEnd, kCancelled, kError };

// What happened to a request in one step, in order.
struct RequestUpdate {
  int64_t request_id = 0;
  std::vector<PromptScore> prompt_scores;
  std::vector<GeneratedToken> tokens;
  std::vector<float> embedding;  // With the last update of a request with pooling; not normalized.
  FinishReason finish = FinishReason::kNone;
  absl::Status status;             // Set with kError.
  int64_t prompt_tokens_done = 0;  // For progress of long prompts.
  int64_t cached_tokens = 0;       // Of the prompt: found in the prefix cache instead of computed.
};

}  // namespace barn
