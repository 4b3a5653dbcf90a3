#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "coordinator/text/sampling/candidate.h"
#include "coordinator/text/sampling/params.h"

namespace barn {

// The DRY penalty (p-e-w, "Don't repeat yourself", text-generation-webui pull request 5677): a token that would go on
// with a repetition of n >= allowed_length tokens loses multiplier * base^(n - allowed_length). A repetition does not
// reach over a sequence breaker, and tokens that hold a whole breaker are never penalized.
class Dry {
 public:
  explicit Dry(const SamplingParams& params);

  bool active() const { return multiplier_ > 0; }
  // Takes in the tokens that are new since the last call, each in the time of its earlier occurrences; many at once in
  // linear time. `tokens` only grows between calls; see Forget().
  void Update(std::span<const int32_t> tokens);
  // Starts over: tokens have been taken back.
  void Forget();
  // One edit for each penalized token, by ascending id.
  void AddEdits(std::span<const int32_t> tokens, std::vector<LogitEdit>& edits) const;

 private:
  // tokens[end - length, end) equals the newest `length` tokens, and end is before the newest token's place.
  struct Match {
    int64_t end = 0;
    int64_t length = 0;
  };
  bool TouchesBreaker(int32_t id);
  bool HoldsBreaker(int32_t id) const;
  void Append(std::span<const int32_t> tokens, int64_t index);
  void FindAll(std::span<const int32_t> tokens);

  double multiplier_;
  double base_;
  int64_t allowed_length_;
  int64_t window_;
  std::vector<std::string> breakers_;
  const Tokenizer* tokenizer_;

  int64_t seen_ = 0;
  int64_t since_breaker_ = 0;   // Newest tokens that no breaker touches.
  std::string tail_;            // The newest bytes, one less than the longest breaker has.
  std::vector<Match> matches_;  // By ascending end.
  absl::flat_hash_map<int32_t, std::vector<int64_t>> places_;
};

}  // namespace barn
