#include "worker/model/encoder.h"

#include "absl/strings/str_format.h"
#include "worker/model/decoder.h"

namespace barn {

ModelSpec ReadEncoder(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  reader.Require(spec.norm.subtract_mean,
                 absl::StrFormat("key %s.attention.layer_norm_epsilon is missing", reader.config().architecture));
  spec.norm.bias = true;
  spec.output_norm = false;
  spec.input.types = reader.TensorRows("token_types.weight");
  spec.input.separator = reader.TokenId("seperator_token_id");  // As the format spells it.
  spec.input.norm = true;
  const bool fused = reader.HasTensor("blk.0.attn_qkv.weight");
  for (LayerSpec& layer : spec.layers) {
    layer.norm_after = true;
    layer.attention.fused_qkv = fused;
  }
  return spec;
}

}  // namespace barn
