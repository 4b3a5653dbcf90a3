#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Llama 4: three of four layers rotate and see chunks of 8192 positions; every fourth sees everything without a
// rotation, its queries tempered by position. One expert beside a shared one; its weight scales its input.
ModelSpec DescribeLlama4(ConfigReader& reader) {
  constexpr int64_t kPlainLayerPeriod = 4;
  constexpr int64_t kChunkTokens = 8192;
  constexpr int64_t kExpertsOfMaverick = 128;  // The one size whose q and k are not normed.
  ModelSpec spec = ReadDecoder(reader, RopePairs::kNeighbours);
  RoutedSpec routed = ReadRouted(reader, ExpertScores::kSigmoidOfSelected, /*renormalize=*/false);
  routed.weight_scales_input = true;
  routed.shared_width = routed.width;
  const int64_t routed_period = reader.Int("interleave_moe_layer_step", kLayersMax);
  for (int64_t i = 0; i < static_cast<int64_t>(spec.layers.size()); ++i) {
    LayerSpec& layer = spec.layers[i];
    if ((i + 1) % kPlainLayerPeriod == 0) {
      layer.attention.rope.width = 0;
      layer.attention.temperature = {.scale = 0.1, .span = kChunkTokens, .offset = 1};
    } else {
      layer.attention.chunk = kChunkTokens;
      layer.attention.unit_norm_after_rope = routed.routing.experts != kExpertsOfMaverick;
    }
    if ((i + 1) % routed_period == 0) {
      layer.routed = routed;
    }
  }
  return spec;
}

}  // namespace barn
