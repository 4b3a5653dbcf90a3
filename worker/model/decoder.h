#pragma once

#include "worker/model/config_reader.h"
#include "worker/model/spec.h"

namespace barn {

// What most decoders share: RMS norms, grouped-query attention with rotary positions, a gated SiLU feed-forward part in
// every layer. An architecture starts from this and states where it differs.
ModelSpec ReadDecoder(ConfigReader& reader, RopePairs pairs);

// The routed part from expert_count, expert_used_count and expert_feed_forward_length (or feed_forward_length).
RoutedSpec ReadRouted(ConfigReader& reader, ExpertScores scores, bool renormalize);

// The keys rope.* of this model, for a head whose rotated width is `width`.
RopeSpec ReadRope(ConfigReader& reader, RopePairs pairs, int64_t width);

// expert_gating_func as ExpertScores; `otherwise` when the key is missing or 0.
ExpertScores ReadExpertScores(ConfigReader& reader, ExpertScores otherwise);

// Puts `routed` in every layer from first_layer onwards.
void RouteLayers(ModelSpec& spec, const RoutedSpec& routed, int64_t first_layer);

// Layers i with (i + 1) % period != 0 see a window; the others see everything.
void WindowLayers(ModelSpec& spec, int64_t window, int64_t period);

}  // namespace barn
