#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Phi-3: q, k and v in one tensor, gate and up in another, long-context factors by context length.
ModelSpec DescribePhi3(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.fused_qkv = true;
    layer.dense.fused_gate_up = true;
  }
  return spec;
}

}  // namespace barn
