#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// GLM-4.5: partial rotation, sigmoid scores with a selection bias, a shared expert, dense layers first.
ModelSpec DescribeGlm4Moe(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  for (LayerSpec& layer : spec.layers) {
    layer.ffn_norm = "post_attention_norm";
    layer.attention.qk_norm = Presence::kOptional;
  }
  RoutedSpec routed =
      ReadRouted(reader, ReadExpertScores(reader, ExpertScores::kSigmoid), reader.BoolOr("expert_weights_norm", true));
  routed.selection_bias = Presence::kOptional;
  routed.routing.scale = static_cast<float>(reader.FloatOr("expert_weights_scale", 1));
  routed.shared_width = reader.IntOr("expert_shared_count", 0, 1024) * routed.width;
  RouteLayers(spec, routed, reader.IntOr("leading_dense_block_count", 0, reader.config().layers));
  return spec;
}

}  // namespace barn
