#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Granite MoE: scales on the embedding, on both branches and on the logits; attention.scale is read by ReadDecoder.
ModelSpec DescribeGraniteMoe(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kNeighbours);
  spec.embedding_scale = static_cast<float>(reader.FloatOr("embedding_scale", 1));
  spec.residual_scale = static_cast<float>(reader.FloatOr("residual_scale", 1));
  spec.logit_scale = static_cast<float>(1 / reader.Float("logit_scale"));
  RoutedSpec routed = ReadRouted(reader, ExpertScores::kSoftmax, /*renormalize=*/true);
  routed.shared_width = reader.IntOr("expert_shared_feed_forward_length", 0, kWidthMax);
  RouteLayers(spec, routed, 0);
  return spec;
}

}  // namespace barn
