#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Qwen2 with experts, whose weights are not renormalized, and a shared expert behind a sigmoid gate.
ModelSpec DescribeQwen2Moe(ConfigReader& reader) {
  ModelSpec spec = DescribeQwen2(reader);
  RoutedSpec routed = ReadRouted(reader, ExpertScores::kSoftmax, /*renormalize=*/false);
  routed.shared_width = reader.Has("expert_shared_feed_forward_length")
                            ? reader.Int("expert_shared_feed_forward_length", kWidthMax)
                            : reader.Int("feed_forward_length", kWidthMax);
  routed.shared_gate = true;
  RouteLayers(spec, routed, 0);
  return spec;
}

}  // namespace barn
