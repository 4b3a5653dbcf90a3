#include "worker/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace barn {
namespace {

TEST(RopeFrequencies, PlainAnglesFallGeometrically) {
  const RopeTable table = *BuildRopeTable({.width = 8, .base = 10000}, {});
  ASSERT_EQ(table.inverse_frequencies.size(), 4u);
  const float want[] = {1, 0.1f, 0.01f, 0.001f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(table.inverse_frequencies[i], want[i]);
  }
  EXPECT_EQ(table.magnitude, 1);
}

TEST(RopeFrequencies, LinearScalingAndFactorsDivide) {
  const float factors[] = {1, 2, 4, 8};
  const RopeTable table =
      *BuildRopeTable({.width = 8, .base = 10000, .scaling = RopeScaling::kLinear, .factor = 5}, factors);
  const float want[] = {1 / 5.0f, 0.1f / 10, 0.01f / 20, 0.001f / 40};
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(table.inverse_frequencies[i], want[i]);
  }
}

TEST(RopeFrequencies, YarnKeepsFastPairsAndStretchesSlowOnes) {
  const RopeSpec spec{.width = 64,
                      .base = 10000,
                      .scaling = RopeScaling::kYarn,
                      .factor = 16,
                      .original_context = 4096,
                      .magnitude = 1.25};
  const RopeSpec unscaled{.width = 64, .base = 10000};
  const RopeTable table = *BuildRopeTable(spec, {});
  const RopeTable plain = *BuildRopeTable(unscaled, {});
  EXPECT_FLOAT_EQ(table.magnitude, 1.25f);
  float last_ratio = 1;
  for (int i = 0; i < 32; ++i) {
    const double turns = 4096 * plain.inverse_frequencies[i] / (2 * std::numbers::pi);
    const float ratio = table.inverse_frequencies[i] / plain.inverse_frequencies[i];
    EXPECT_LE(ratio, last_ratio * 1.0001f);  // A ramp down.
    last_ratio = ratio;
    if (turns > 32 * std::pow(10000, 2.0 / 64)) {  // A whole pair faster than beta_fast.
      EXPECT_FLOAT_EQ(ratio, 1) << i;
    }
    if (turns < std::pow(10000, -2.0 / 64)) {
      EXPECT_FLOAT_EQ(ratio, 1 / 16.0f) << i;
    }
  }
  EXPECT_FLOAT_EQ(last_ratio, 1 / 16.0f);
}

TEST(RopeFrequencies, RefusesWhatCannotBeRotated) {
  EXPECT_FALSE(BuildRopeTable({.width = 7}, {}).ok());
  EXPECT_FALSE(BuildRopeTable({.width = 0}, {}).ok());
  const float few[] = {1, 1};
  const absl::Status wrong_length = BuildRopeTable({.width = 8, .factors_tensor = "rope_freqs.weight"}, few).status();
  EXPECT_EQ(wrong_length.message(), "rope_freqs.weight has 2 entries, want 4");
  const float zero[] = {1, 0, 1, 1};
  EXPECT_FALSE(BuildRopeTable({.width = 8}, zero).ok());
  const float broken[] = {1, NAN, 1, 1};
  EXPECT_FALSE(BuildRopeTable({.width = 8}, broken).ok());
}

}  // namespace
}  // namespace barn
