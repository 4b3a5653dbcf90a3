#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

ModelSpec DescribeQwen3Moe(ConfigReader& reader) {
  ModelSpec spec = DescribeQwen3(reader);
  RouteLayers(spec, ReadRouted(reader, ExpertScores::kSoftmax, /*renormalize=*/true), 0);
  return spec;
}

}  // namespace barn
