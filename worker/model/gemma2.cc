#include <cmath>

#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Gemma 2 (report, section 2): window on even layers, soft caps, norms before and after each branch.
ModelSpec DescribeGemma2(ConfigReader& reader) {
  constexpr int64_t kLayersOf27B = 46;
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.width));
  spec.final_softcap = static_cast<float>(reader.FloatOr("final_logit_softcapping", 30));
  WindowLayers(spec, reader.IntOr("attention.sliding_window", 4096, kContextTokensMax), 2);
  for (LayerSpec& layer : spec.layers) {
    layer.post_norms = true;
    layer.dense.activation = Activation::kGeluTanh;
    layer.attention.softcap = static_cast<float>(reader.FloatOr("attn_logit_softcapping", 50));
    if (reader.config().layers == kLayersOf27B) {
      // The 27B model scales by its width per head, which is not the width of its keys.
      layer.attention.scale = 1 / std::sqrt(static_cast<float>(spec.width) / static_cast<float>(layer.attention.heads));
    }
  }
  return spec;
}

}  // namespace barn
