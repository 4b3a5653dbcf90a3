#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Qwen3: q and k are normed per head.
ModelSpec DescribeQwen3(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qk_norm = Presence::kRequired;
  }
  return spec;
}

}  // namespace barn
