#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace barn {

inline constexpr int64_t kDraftTokensMax = 16;  // Of one sequence in one step.

// What a row more costs a step: a line through the times of the steps that only decode, recent ones counting most. One
// thread.
class StepCost {
 public:
  void Observe(int64_t rows, int64_t compute_us);

  // By how much of a token each row more must be good for, in a step of `rows` rows that bring one token each: what it
  // adds to the step's time, as a share of the time that a token takes now. Above 1 nothing pays.
  double RowShare(int64_t rows) const;

 private:
  // Sums over steps, each weighing less than the next.
  double weight_ = 0;
  double rows_ = 0;
  double us_ = 0;
  double rows_rows_ = 0;
  double rows_us_ = 0;
};

// Guesses how a sequence goes on: where its newest tokens stood before, it looks at what came then (prompt lookup;
// Saxena 2023, "prompt-lookup-decoding"). Guesses cost rows, so it counts how many come true. One thread.
class NgramDrafter {
 public:
  // The tokens that come next, at most `tokens_max`; none when nothing like this was there, or when it would not pay:
  // the i-th guess comes true with the chance p^i, p being how often guesses did lately, and that must be worth
  // `row_share`. `tokens` only grows between calls.
  std::vector<int32_t> Draft(std::span<const int32_t> tokens, int64_t tokens_max, double row_share);

  // What `count` guesses bring beyond their price, in tokens: the sum of p^i - row_share.
  double Gain(int64_t count, double row_share) const;

  // Of the last draft the first so many came true, and one more was looked at if there was one.
  void Learn(int64_t drafted, int64_t accepted);

  double chance() const { return chance_; }

 private:
  void Update(std::span<const int32_t> tokens);

  double chance_ = 0.7;  // Of one guess, so far.
  int64_t seen_ = 0;
  absl::flat_hash_map<uint64_t, int64_t> behind_;  // An n-gram's newest place but the last: the index behind it.
};

}  // namespace barn
