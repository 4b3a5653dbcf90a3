#pragma once

#include <cstdint>

namespace barn {

// One of the best entries of the vocabulary after the edits.
struct Candidate {
  int32_t id = 0;
  float logit = 0;
};

// What the last stage knows of all logits of a row, after the edits.
struct LogitSummary {
  double logsumexp = 0;
  double deviation = 0;  // Standard deviation of the finite ones; 0 unless it was asked for.
};

// A change to one raw logit l, made by the last stage: l = l > 0 ? l / repetition : l * repetition, then l += add.
struct LogitEdit {
  int32_t id = 0;
  float add = 0;         // Bias - presence - frequency x count in the generated tokens - DRY.
  float repetition = 1;  // 1: none (Keskar et al. 2019, section 4.1).
};

}  // namespace barn
