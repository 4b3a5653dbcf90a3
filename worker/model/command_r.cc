#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Command R: LayerNorm without bias; attention and feed-forward part read the same norm and add up.
ModelSpec DescribeCommandR(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kNeighbours);
  reader.Require(spec.norm.subtract_mean, "key command-r.attention.layer_norm_epsilon is missing");
  reader.Require(!reader.HasTensor("blk.0.attn_q_norm.weight"),
                 "tensor blk.0.attn_q_norm.weight: Command R+ norms q and k per head, which is not supported");
  spec.logit_scale = static_cast<float>(reader.FloatOr("logit_scale", 1));
  for (LayerSpec& layer : spec.layers) {
    layer.parallel = true;
  }
  return spec;
}

}  // namespace barn
