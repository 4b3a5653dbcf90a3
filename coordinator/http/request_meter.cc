#include "coordinator/http/request_meter.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace barn {
namespace {

// A long answer is charged in parts, so that a quota is seen by the key's other requests.
constexpr int64_t kChargeEveryTokens = 64;

}  // namespace

RequestMeter::RequestMeter(Options options, absl::Time now) : options_(std::move(options)), began_(now) {}

RequestMeter::~RequestMeter() {
  if (!accepted_) return;
  const absl::Time now = absl::Now();
  Charge(0, uncharged_tokens_, 0, now);
  options_.metrics.request_seconds.Add(absl::ToDoubleSeconds(now - began_));
  options_.metrics.prompt_tokens.Add(static_cast<double>(prompt_tokens_));
  options_.metrics.generated_tokens.Add(static_cast<double>(generated_tokens_));
}

void RequestMeter::Charge(int64_t prompt_tokens, int64_t generated_tokens, int64_t requests, absl::Time now) {
  if (options_.gate == nullptr || options_.account == nullptr) return;
  UsageRow used;
  used.prompt_tokens = prompt_tokens;
  used.generated_tokens = generated_tokens;
  used.requests = requests;
  options_.gate->Charge(*options_.account, options_.model, used, now);
}

void RequestMeter::Ask(const std::vector<GenerateRequest>& requests) {
  last_token_.assign(requests.size(), absl::InfinitePast());
  ended_.assign(requests.size(), false);
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool shared = i > 0 && requests[i].pooling == Pooling::kNone && requests[i].prompt == requests[i - 1].prompt;
    if (!shared) prompt_tokens_ += static_cast<int64_t>(requests[i].prompt.size());
  }
}

void RequestMeter::Accepted(absl::Time now) {
  accepted_ = true;
  Charge(prompt_tokens_, 0, 1, now);
}

void RequestMeter::CountFinish(size_t choice, FinishReason reason) {
  if (!ended_[choice]) options_.metrics.CountFinish(reason);
  ended_[choice] = true;
}

void RequestMeter::Done(size_t choice) { CountFinish(choice, FinishReason::kEnd); }

void RequestMeter::OnUpdate(const ChoiceUpdate& item, absl::Time now) {
  const RequestUpdate& update = item.update;
  const auto count = static_cast<int64_t>(update.tokens.size());
  if (update.finish != FinishReason::kNone) CountFinish(item.choice, update.finish);
  if (count == 0) return;
  generated_tokens_ += count;
  uncharged_tokens_ += count;
  absl::Time& last = last_token_[item.choice];
  if (last == absl::InfinitePast()) {
    const absl::Duration waited = now - began_;
    to_first_token_ = std::min(to_first_token_, waited);
    options_.metrics.first_token_seconds.Add(absl::ToDoubleSeconds(waited));
  } else {
    // Tokens that come together share the time since those before.
    const double each = absl::ToDoubleSeconds(now - last) / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) options_.metrics.token_seconds.Add(each);
  }
  last = now;
  if (uncharged_tokens_ >= kChargeEveryTokens) Charge(0, std::exchange(uncharged_tokens_, 0), 0, now);
}

}  // namespace barn
