#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

ModelSpec DescribeQwen2(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qkv_bias = Presence::kRequired;
  }
  return spec;
}

}  // namespace barn
