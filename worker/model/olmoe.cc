#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// OLMoE: q and k are normed over the whole row; expert weights are not renormalized.
ModelSpec DescribeOlmoe(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kHalves);
  for (LayerSpec& layer : spec.layers) {
    layer.attention.qk_norm = Presence::kRequired;
    layer.attention.qk_norm_over = HeadNorm::kWholeRow;
  }
  RouteLayers(spec, ReadRouted(reader, ExpertScores::kSoftmax, /*renormalize=*/false), 0);
  return spec;
}

}  // namespace barn
