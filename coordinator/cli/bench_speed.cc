#include "coordinator/cli/bench_speed.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "coordinator/cli/token_times.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// Seeded ids in the ordinary range of a vocabulary: what they say does not matter, that they differ does (experts).
std::vector<int32_t> PromptIds(int64_t count, int64_t vocabulary, uint64_t seed) {
  std::vector<int32_t> ids;
  uint64_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocabulary)));
  }
  return ids;
}

GenerateRequest Greedy(std::vector<int32_t> prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

// What one stream generates: the token that ends its prompt, those that are timed, and what streams that started early
// generate while the prompts of others are computed, a hundred rows and more of them in each step.
int64_t StreamTokens(const BenchWork& work) {
  constexpr int64_t kPromptRowsPerStep = 128;
  const int64_t others = work.streams - 1;
  return 1 + work.generated_tokens + others + others * work.depth_tokens / kPromptRowsPerStep;
}

absl::StatusOr<double> PromptSpeed(ServedCluster& cluster, const BenchWork& work, uint64_t seed) {
  const absl::Time start = absl::Now();
  BARN_RETURN_IF_ERROR(cluster.Run(Greedy(PromptIds(work.prompt_tokens, cluster.vocabulary(), seed), 1)).status());
  return static_cast<double>(work.prompt_tokens) / absl::ToDoubleSeconds(absl::Now() - start);
}

absl::StatusOr<double> GenerationSpeed(ServedCluster& cluster, const BenchWork& work, uint64_t seed) {
  std::vector<std::vector<absl::Time>> times(work.streams);
  std::vector<absl::Status> results(work.streams);
  std::vector<std::thread> threads;
  for (int i = 0; i < work.streams; ++i) {
    times[i].reserve(StreamTokens(work));
    threads.emplace_back([&, i] {
      GenerateRequest request =
          Greedy(PromptIds(FilledTokens(work), cluster.vocabulary(), seed + i), StreamTokens(work));
      results[i] =
          cluster.Run(std::move(request), [&, i](const GeneratedToken&) { times[i].push_back(absl::Now()); }).status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) BARN_RETURN_IF_ERROR(result);
  return TogetherTokensPerSecond(times, work.generated_tokens / 2);
}

using Measure = absl::StatusOr<double> (*)(ServedCluster&, const BenchWork&, uint64_t);

absl::StatusOr<Summary> Repeat(Measure measure, ServedCluster& cluster, const BenchWork& work) {
  BARN_RETURN_IF_ERROR(measure(cluster, work, 1).status());  // Warm-up: pages, clocks.
  std::vector<double> values;
  for (int i = 0; i < work.repetitions; ++i) {
    BARN_ASSIGN_OR_RETURN(const double value, measure(cluster, work, 1 + (i + 1) * uint64_t{1000}));
    values.push_back(value);
  }
  return Summarize(values);
}

}  // namespace

int64_t FilledTokens(const BenchWork& work) { return std::max<int64_t>(work.depth_tokens, 1); }

int64_t ContextTokens(const BenchWork& work) {
  constexpr int64_t kBlockTokens = 32;  // Every stream's last block may be nearly empty.
  const int64_t stream_tokens = FilledTokens(work) + StreamTokens(work) + kBlockTokens;
  return std::max(work.prompt_tokens + 1 + kBlockTokens, work.streams * stream_tokens);
}

absl::StatusOr<Summary> MeasurePrompt(ServedCluster& cluster, const BenchWork& work) {
  return Repeat(PromptSpeed, cluster, work);
}

absl::StatusOr<Summary> MeasureGeneration(ServedCluster& cluster, const BenchWork& work) {
  return Repeat(GenerationSpeed, cluster, work);
}

}  // namespace barn
