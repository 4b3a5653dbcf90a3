#include "absl/strings/str_format.h"
#include "worker/model/architectures.h"
#include "worker/model/encoder.h"

namespace barn {

// BERT (Devlin et al. 2019), also RoBERTa and XLM-RoBERTa: learned positions, biases, a feed-forward part without gate.
// GELU in its exact form, with which the models were trained.
ModelSpec DescribeBert(ConfigReader& reader) {
  ModelSpec spec = ReadEncoder(reader);
  spec.input.positions = reader.TensorRows("position_embd.weight");
  reader.Require(spec.input.positions >= spec.context_tokens,
                 absl::StrFormat("position_embd.weight has %d rows for a context of %d tokens", spec.input.positions,
                                 spec.context_tokens));
  for (LayerSpec& layer : spec.layers) {
    layer.attention.rope = {};
    layer.dense.gated = false;
    layer.dense.activation = Activation::kGeluErf;
  }
  return spec;
}

}  // namespace barn
