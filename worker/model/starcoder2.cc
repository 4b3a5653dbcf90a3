#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// StarCoder 2: LayerNorm, biases everywhere, a feed-forward part without gate.
ModelSpec DescribeStarcoder2(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  reader.Require(spec.norm.subtract_mean, "key starcoder2.attention.layer_norm_epsilon is missing");
  spec.norm.bias = true;
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qkv_bias = Presence::kRequired;
    layer.attention.output_bias = Presence::kRequired;
    layer.dense.gated = false;
    layer.dense.activation = Activation::kGeluTanh;
    layer.dense.bias = Presence::kRequired;
  }
  return spec;
}

}  // namespace barn
