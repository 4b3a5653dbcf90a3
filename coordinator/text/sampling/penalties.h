#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/btree_map.h"
#include "coordinator/text/sampling/candidate.h"
#include "coordinator/text/sampling/params.h"

namespace barn {

// Counts of the tokens that the repetition, presence and frequency penalties look at. A new token costs the time of one
// look-up, however long the sequence is.
class Penalties {
 public:
  explicit Penalties(const SamplingParams& params);

  bool active() const { return repetition_ != 1 || presence_ != 0 || frequency_ != 0; }
  // Takes in the tokens that are new since the last call. `tokens` only grows between calls; see Forget().
  void Update(std::span<const int32_t> tokens, int64_t prompt_tokens);
  // Starts over: tokens have been taken back.
  void Forget();
  // One edit for each token that counts, by ascending id.
  void AddEdits(std::vector<LogitEdit>& edits) const;

 private:
  struct Counts {
    int64_t in_window = 0;
    int64_t generated = 0;
  };
  void Count(int32_t id, int64_t in_window, int64_t generated);

  float repetition_ = 1;
  float presence_ = 0;
  float frequency_ = 0;
  int64_t repetition_window_ = 0;  // Of all tokens.
  int64_t generated_window_ = 0;   // Of all tokens, though only generated ones count in it.
  int64_t seen_ = 0;
  absl::btree_map<int32_t, Counts> counts_;
};

}  // namespace barn
