#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/scheduler/request.h"

namespace barn {

// A file of whole distributions, one for each scored position: magic "BARNKL01", vocabulary u64, then positions, each
// a token id u32 and vocabulary x f32 log probabilities; little-endian. Written from one model, compared with another.
class KlBase {
 public:
  // InvalidArgument: not such a file, or made with another vocabulary size.
  static absl::StatusOr<KlBase> Open(const std::string& path, bool save, int64_t vocabulary);

  // Stores or compares the next position; score.top must hold every id. DataLoss: the base has fewer positions, or
  // scored another token there.
  absl::Status Add(const PromptScore& score);
  absl::Status Finish();  // Flushes what was saved.

  double kl_mean() const;  // Of KL(base || this), in nats.
  double kl_standard_error() const;
  double same_top_share() const;  // Positions where both have the same best token.

 private:
  std::string path_;
  bool save_ = false;
  int64_t vocabulary_ = 0;
  std::fstream file_;
  int64_t positions_ = 0;
  int64_t same_top_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

}  // namespace barn
