#include "tests/coordinator/http/fake_engine.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace barn {
namespace {

std::vector<TokenLogprob> Top(int32_t id, int count) {
  std::vector<TokenLogprob> top;
  for (int i = 0; i < count; ++i)
    top.push_back({.id = id + i, .logprob = FakeEngine::kLogprob - static_cast<float>(i)});
  return top;
}

}  // namespace

std::vector<int32_t> RepeatPrompt(const GenerateRequest& request) {
  std::vector<int32_t> answer;
  const size_t first = request.prompt.size() > 1 ? 1 : 0;  // Not the begin-of-text token.
  while (static_cast<int64_t>(answer.size()) < request.max_tokens) {
    const size_t period = request.prompt.size() - first;
    answer.push_back(request.prompt[first + answer.size() % period]);
  }
  return answer;
}

std::vector<float> FakeEmbedding(const std::vector<int32_t>& prompt, Pooling pooling) {
  std::vector<float> values(pooling == Pooling::kScore ? 1 : kFakeEmbeddingWidth, 0.0f);
  for (const int32_t token : prompt) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] += static_cast<float>((token * (static_cast<int32_t>(i) + 3)) % 17 - 8);
    }
  }
  if (pooling == Pooling::kLast) values[0] += 1;
  return values;
}

FakeEngine::FakeEngine(Options options) : options_(std::move(options)) {
  state_.ready = true;
  state_.context_tokens_max = options_.context_tokens;
  if (!options_.manual) thread_ = std::thread([this] { Loop(); });
}

FakeEngine::~FakeEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<int64_t> FakeEngine::Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) {
  absl::MutexLock lock(&mutex_);
  if (!state_.ready) return absl::UnavailableError(state_.reason);
  if (!options_.refusal.ok()) return options_.refusal;
  if (static_cast<int64_t>(running_.size()) >= options_.queue_max) {
    return absl::ResourceExhaustedError(absl::StrFormat("%d requests wait already", running_.size()));
  }
  submitted_.push_back(request);
  std::vector<int32_t> answer = options_.script ? options_.script(request) : RepeatPrompt(request);
  const bool ends = static_cast<int64_t>(answer.size()) <= request.max_tokens && options_.script;
  if (static_cast<int64_t>(answer.size()) > request.max_tokens) answer.resize(request.max_tokens);
  const int64_t id = next_id_++;
  running_[id] = {
      .request = std::move(request), .answer = std::move(answer), .ends = ends, .on_update = std::move(on_update)};
  ++state_.requests_total;
  return id;
}

void FakeEngine::Cancel(int64_t request_id) {
  absl::MutexLock lock(&mutex_);
  const auto found = running_.find(request_id);
  if (found == running_.end() || found->second.cancelled) return;
  found->second.cancelled = true;
  ++cancelled_;
}

EngineState FakeEngine::State() const {
  absl::MutexLock lock(&mutex_);
  EngineState state = state_;
  state.running = static_cast<int64_t>(running_.size());
  return state;
}

void FakeEngine::Step() {
  absl::MutexLock step_lock(&step_mutex_);
  std::vector<std::pair<std::function<void(RequestUpdate)>, RequestUpdate>> updates;
  {
    absl::MutexLock lock(&mutex_);
    ++state_.steps_total;
    for (auto it = running_.begin(); it != running_.end();) {
      RequestUpdate update = Advance(it->first, it->second);
      state_.generated_tokens_total += static_cast<int64_t>(update.tokens.size());
      const bool last = update.finish != FinishReason::kNone;
      updates.emplace_back(it->second.on_update, std::move(update));
      it = last ? running_.erase(it) : std::next(it);
    }
  }
  for (auto& [on_update, update] : updates) on_update(std::move(update));
}

RequestUpdate FakeEngine::Advance(int64_t id, Running& running) const {
  RequestUpdate update;
  update.request_id = id;
  update.cached_tokens = options_.cached_tokens;
  if (running.cancelled) {
    update.finish = FinishReason::kCancelled;
    return update;
  }
  const GenerateRequest& request = running.request;
  if (running.steps++ == 0 && request.score_from >= 0) {
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      update.prompt_scores.push_back({.index = static_cast<int64_t>(i),
                                      .id = request.prompt[i],
                                      .logprob = -static_cast<double>(i),
                                      .top = Top(request.prompt[i], request.score_top_logprobs)});
    }
  }
  if (running.steps <= options_.prompt_steps) return update;
  if (running.done == options_.fail_after) {
    update.finish = FinishReason::kError;
    update.status = absl::UnavailableError("worker 1 is gone");
    return update;
  }
  const auto total = static_cast<int64_t>(running.answer.size());
  if (running.done < total) {
    const int32_t token = running.answer[running.done++];
    update.tokens.push_back(
        {.id = token, .logprob = kLogprob, .top = Top(token, request.top_logprobs), .full_logits = {}});
  }
  if (running.done == total && request.pooling != Pooling::kNone) {
    update.embedding = FakeEmbedding(request.prompt, request.pooling);
  }
  if (running.done == total) update.finish = running.ends ? FinishReason::kEnd : FinishReason::kLength;
  return update;
}

void FakeEngine::Loop() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      const auto work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !running_.empty(); };
      mutex_.Await(absl::Condition(&work));
      if (stopping_) return;
    }
    Step();
    absl::SleepFor(options_.step);
  }
}

void FakeEngine::SetReady(bool ready, std::string reason) {
  absl::MutexLock lock(&mutex_);
  state_.ready = ready;
  state_.reason = std::move(reason);
}

int64_t FakeEngine::active() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(running_.size());
}

int64_t FakeEngine::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

std::vector<GenerateRequest> FakeEngine::submitted() const {
  absl::MutexLock lock(&mutex_);
  return submitted_;
}

}  // namespace barn
