#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/spec.h"

namespace barn {

// What a device needs to rotate: see RopeArgs.
struct RopeTable {
  std::vector<float> inverse_frequencies;  // [width / 2]
  float magnitude = 1;
};

// Inverse frequencies of a rotation, with all scaling folded in. factors: [width / 2] divisors of the angles, or empty.
// YaRN: Peng et al. 2023, section 3.2 ("NTK-by-parts"): fast pairs keep their angle, slow ones are stretched, with a
// linear ramp between the pairs that turn beta_fast and beta_slow times in the original context. InvalidArgument: an
// odd width, factors of the wrong length, a factor that is not positive and finite.
absl::StatusOr<RopeTable> BuildRopeTable(const RopeSpec& spec, std::span<const float> factors);

}  // namespace barn
