#include "worker/model/architectures.h"
#include "worker/model/encoder.h"

namespace barn {

// Jina Embeddings 2 (Guenther et al. 2023, section 3): BERT with ALiBi in place of positions and a GEGLU feed-forward
// part, whose gate may stand in ffn_up.
ModelSpec DescribeJinaBertV2(ConfigReader& reader) {
  ModelSpec spec = ReadEncoder(reader);
  const double slope_max = reader.FloatOr("attention.max_alibi_bias", 8);
  reader.Require(slope_max > 0, "key jina-bert-v2.attention.max_alibi_bias is not positive");
  for (LayerSpec& layer : spec.layers) {
    layer.attention.rope = {};
    layer.attention.slope_max = slope_max;
    layer.dense.activation = Activation::kGeluErf;
    layer.dense.fused_gate_up = !reader.HasTensor("blk.0.ffn_gate.weight");
  }
  return spec;
}

}  // namespace barn
