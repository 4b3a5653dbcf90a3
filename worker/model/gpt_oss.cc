#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// gpt-oss: attention sinks, window on even layers, biases everywhere, clamped SwiGLU experts.
ModelSpec DescribeGptOss(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  RoutedSpec routed = ReadRouted(reader, ExpertScores::kSoftmaxOfSelected, /*renormalize=*/false);
  routed.activation = Activation::kClampedSwiglu;
  routed.biases = true;
  RouteLayers(spec, routed, 0);
  WindowLayers(spec, reader.Int("attention.sliding_window", kContextTokensMax), 2);
  for (LayerSpec& layer : spec.layers) {
    layer.ffn_norm = "post_attention_norm";
    layer.attention.sinks = true;
    layer.attention.qkv_bias = Presence::kRequired;
    layer.attention.output_bias = Presence::kRequired;
  }
  return spec;
}

}  // namespace barn
