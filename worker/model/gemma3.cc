#include <cmath>

#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Gemma 3 (report, section 2): five window layers, then a full one; window layers keep the short-context rotation.
ModelSpec DescribeGemma3(ConfigReader& reader) {
  constexpr int64_t kLayersOf27B = 62;
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.width));
  spec.final_softcap = static_cast<float>(reader.FloatOr("final_logit_softcapping", 0));
  WindowLayers(spec, reader.Int("attention.sliding_window", kContextTokensMax), 6);
  const double window_base = reader.FloatOr("rope.freq_base_swa", 10000);
  reader.Require(window_base > 1, "key rope.freq_base_swa must be more than 1");
  for (LayerSpec& layer : spec.layers) {
    layer.post_norms = true;
    layer.dense.activation = Activation::kGeluTanh;
    layer.attention.qk_norm = Presence::kRequired;
    if (layer.attention.window > 0) {
      layer.attention.rope = {.pairs = RopePairs::kHalves, .width = layer.attention.rope.width, .base = window_base};
    }
    if (reader.config().layers == kLayersOf27B) {
      // The 27B model scales by its width per head, which is not the width of its keys.
      layer.attention.scale = 1 / std::sqrt(static_cast<float>(spec.width) / static_cast<float>(layer.attention.heads));
    }
  }
  return spec;
}

}  // namespace barn
