#pragma once

#include <cstdint>

namespace barn {

// Bounds on what a model file may claim; far above any published model, and low enough that products of them fit 63
// bits.
inline constexpr int64_t kLayersMax = 1024;
inline constexpr int64_t kHeadsMax = 4096;
inline constexpr int64_t kHeadWidthMax = 65536;
inline constexpr int64_t kWidthMax = 1 << 20;
inline constexpr int64_t kVocabularyMax = 1 << 24;
inline constexpr int64_t kExpertsMax = 65536;
inline constexpr int64_t kContextTokensMax = 1 << 26;
inline constexpr int64_t kKvElementsPerTokenMax = 1 << 20;  // Of one layer.
inline constexpr int64_t kModelBytesMax = int64_t{1} << 60;

}  // namespace barn
