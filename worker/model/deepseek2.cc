#include <algorithm>
#include <cmath>

#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

namespace {

// Keys and values per head come from a latent row of kv_lora_rank elements that all heads share.
void ReadMla(ConfigReader& reader, AttentionSpec& attention) {
  MlaSpec mla;
  mla.absorbed = reader.Has("attention.key_length_mla");
  const int64_t key = reader.Int(mla.absorbed ? "attention.key_length_mla" : "attention.key_length", kHeadWidthMax);
  mla.value = reader.Int(mla.absorbed ? "attention.value_length_mla" : "attention.value_length", kHeadWidthMax);
  mla.kv_rank = reader.Int("attention.kv_lora_rank", kHeadWidthMax);
  mla.q_rank = reader.IntOr("attention.q_lora_rank", 0, kHeadWidthMax);
  const int64_t rotated = reader.Int("rope.dimension_count", kHeadWidthMax);
  reader.Require(rotated < key, "rope.dimension_count leaves nothing of the key length");
  mla.nope = std::max<int64_t>(1, key - rotated);

  RopeSpec rope = ReadRope(reader, RopePairs::kNeighbours, rotated);
  double temperature = 1;
  if (rope.scaling == RopeScaling::kYarn) {
    // DeepSeek puts YaRN's temperature into the softmax scale and leaves cos and sin alone.
    temperature = 1 + reader.FloatOr("rope.scaling.yarn_log_multiplier", 0) * std::log(rope.factor);
    rope.magnitude = 1;
  }
  attention.scale = static_cast<float>(temperature * temperature / std::sqrt(static_cast<double>(key)));
  attention.rope = rope;
  if (mla.absorbed) {
    attention.kv = {.kv_heads = 1, .k_width = mla.kv_rank + rotated, .v_width = mla.kv_rank, .v_is_k_prefix = true};
  } else {
    attention.kv = {.kv_heads = attention.heads, .k_width = key, .v_width = mla.value};
  }
  attention.mla = mla;
}

}  // namespace

// DeepSeek V2, V3 and R1, Kimi K2: latent attention, dense layers first, then experts beside shared ones.
ModelSpec DescribeDeepseek2(ConfigReader& reader) {
  ModelSpec spec = ReadDecoder(reader, RopePairs::kNeighbours);
  AttentionSpec attention = spec.layers.front().attention;
  ReadMla(reader, attention);
  for (LayerSpec& layer : spec.layers) {
    layer.attention = attention;
  }
  const int64_t layers = reader.config().layers;
  const int64_t dense = reader.IntOr("leading_dense_block_count", 0, layers);
  if (dense < layers) {
    RoutedSpec routed = ReadRouted(reader, ReadExpertScores(reader, ExpertScores::kSoftmax),
                                   reader.BoolOr("expert_weights_norm", false));
    routed.selection_bias = Presence::kOptional;
    routed.routing.scale = static_cast<float>(reader.FloatOr("expert_weights_scale", 1));
    routed.routing.groups = std::max<int64_t>(1, reader.IntOr("expert_group_count", 1, routed.routing.experts));
    routed.routing.groups_used =
        std::max<int64_t>(1, reader.IntOr("expert_group_used_count", routed.routing.groups, routed.routing.groups));
    routed.shared_width = reader.IntOr("expert_shared_count", 0, 1024) * routed.width;
    RouteLayers(spec, routed, dense);
  }
  return spec;
}

}  // namespace barn
