#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Llama, Mistral and their kin; with expert_count, Mixtral.
ModelSpec DescribeLlama(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kNeighbours);
  if (reader.IntOr("expert_count", 0, kExpertsMax) > 0) {
    RouteLayers(spec, ReadRouted(reader, ExpertScores::kSoftmax, /*renormalize=*/true), 0);
  }
  return spec;
}

}  // namespace barn
