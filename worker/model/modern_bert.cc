#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// ModernBERT (Warner et al. 2024, section 2.1): norms before the branches and none with a bias, GEGLU, rotary
// positions; every third layer sees everything, the others a window on both sides with a rotation of their own.
ModelSpec DescribeModernBert(ConfigReader& reader) {
  constexpr int64_t kPeriod = 3;
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  reader.Require(spec.norm.subtract_mean, "key modern-bert.attention.layer_norm_epsilon is missing");
  spec.input.norm = true;
  const int64_t window = reader.Int("attention.sliding_window", kContextTokensMax);
  const double window_base = reader.FloatOr("rope.freq_base_swa", 10000);
  reader.Require(window_base > 1, "key modern-bert.rope.freq_base_swa must be more than 1");
  for (int64_t i = 0; i < static_cast<int64_t>(spec.layers.size()); ++i) {
    LayerSpec& layer = spec.layers[i];
    layer.input_norm = i > 0;
    layer.attention.fused_qkv = true;
    layer.dense.activation = Activation::kGeluErf;
    layer.dense.fused_gate_up = true;
    if (i % kPeriod != 0) {
      layer.attention.window = window;
      layer.attention.rope.base = window_base;
    }
  }
  return spec;
}

}  // namespace barn
