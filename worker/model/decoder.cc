#include "worker/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "sharding/limits.h"

namespace barn {
namespace {

AttentionSpec ReadAttention(ConfigReader& reader, RopePairs pairs) {
  AttentionSpec attention;
  attention.heads = reader.Int("attention.head_count", kHeadsMax);
  attention.kv.kv_heads =
      reader.Has("attention.head_count_kv") ? reader.Int("attention.head_count_kv", kHeadsMax) : attention.heads;
  reader.Require(attention.heads % attention.kv.kv_heads == 0,
                 absl::StrFormat("attention.head_count %d is not a multiple of attention.head_count_kv %d",
                                 attention.heads, attention.kv.kv_heads));
  const int64_t head_width = reader.config().width / attention.heads;
  attention.kv.k_width = reader.IntOr("attention.key_length", head_width, kHeadWidthMax);
  attention.kv.v_width = reader.IntOr("attention.value_length", head_width, kHeadWidthMax);
  reader.Require(attention.kv.k_width >= 1 && attention.kv.v_width >= 1,
                 absl::StrFormat("heads are %d (keys) and %d (values) wide, want at least 1", attention.kv.k_width,
                                 attention.kv.v_width));
  const double scale = reader.FloatOr("attention.scale", 0);
  attention.scale = static_cast<float>(
      scale > 0 ? scale : 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(1, attention.kv.k_width))));
  attention.rope =
      ReadRope(reader, pairs, reader.IntOr("rope.dimension_count", attention.kv.k_width, attention.kv.k_width));
  return attention;
}

void ReadYarn(ConfigReader& reader, RopeSpec& rope) {
  rope.original_context = reader.Int("rope.scaling.original_context_length", kContextTokensMax);
  rope.beta_fast = reader.FloatOr("rope.scaling.yarn_beta_fast", 32);
  rope.beta_slow = reader.FloatOr("rope.scaling.yarn_beta_slow", 1);
  reader.Require(rope.beta_fast > 0 && rope.beta_slow > 0, "rope.scaling.yarn_beta_fast and _slow must be positive");
  // The attention temperature of YaRN (Peng et al. 2023, equation 15), less what the model was trained to do itself.
  const double stretch = std::log(rope.factor);
  const double trained = reader.FloatOr("rope.scaling.yarn_log_multiplier", 0);
  rope.magnitude = (1 + 0.1 * stretch) / (1 + 0.1 * trained * stretch);
}

}  // namespace

RopeSpec ReadRope(ConfigReader& reader, RopePairs pairs, int64_t width) {
  RopeSpec rope{.pairs = pairs, .width = width};
  rope.base = reader.FloatOr("rope.freq_base", 10000);
  reader.Require(rope.base > 1, absl::StrFormat("rope.freq_base is %g, want more than 1", rope.base));
  reader.Require(width >= 0 && width % 2 == 0,
                 absl::StrFormat("rope.dimension_count is %d, want an even number", width));
  const std::string scaling = reader.StringOr("rope.scaling.type", "none");
  if (scaling == "linear" || scaling == "yarn") {
    rope.scaling = scaling == "linear" ? RopeScaling::kLinear : RopeScaling::kYarn;
    rope.factor = reader.Float("rope.scaling.factor");
    if (scaling == "yarn") {
      ReadYarn(reader, rope);
    }
  } else {
    reader.Require(scaling == "none" || scaling == "longrope",
                   absl::StrFormat("rope.scaling.type is \"%s\", want none, linear, yarn or longrope", scaling));
  }
  rope.magnitude *= reader.FloatOr("rope.scaling.attn_factor", 1);
  reader.Require(std::isfinite(rope.magnitude) && rope.magnitude > 0, "rope scaling gives no positive magnitude");
  if (reader.HasTensor("rope_factors_long.weight") && reader.HasTensor("rope_factors_short.weight")) {
    const int64_t original = reader.Int("rope.scaling.original_context_length", kContextTokensMax);
    rope.factors_tensor = reader.context_tokens() > original ? "rope_factors_long.weight" : "rope_factors_short.weight";
  } else if (reader.HasTensor("rope_freqs.weight")) {
    rope.factors_tensor = "rope_freqs.weight";
  }
  return rope;
}

ModelSpec ReadDecoder(ConfigReader& reader, RopePairs pairs) {
  const ModelConfig& config = reader.config();
  ModelSpec spec;
  spec.width = config.width;
  spec.vocabulary = config.vocabulary;
  spec.context_tokens = reader.context_tokens();
  spec.norm.subtract_mean =
      !reader.Has("attention.layer_norm_rms_epsilon") && reader.Has("attention.layer_norm_epsilon");
  spec.norm.epsilon = static_cast<float>(
      reader.Float(spec.norm.subtract_mean ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"));
  LayerSpec layer;
  layer.attention = ReadAttention(reader, pairs);
  layer.dense.width = reader.IntOr("feed_forward_length", 0, kWidthMax);
  spec.layers.assign(config.layers, layer);
  return spec;
}

RoutedSpec ReadRouted(ConfigReader& reader, ExpertScores scores, bool renormalize) {
  RoutedSpec routed;
  routed.routing.experts = reader.Int("expert_count", kExpertsMax);
  routed.routing.used = reader.Int("expert_used_count", routed.routing.experts);
  routed.routing.scores = scores;
  routed.routing.renormalize = renormalize;
  routed.width = reader.Has("expert_feed_forward_length") ? reader.Int("expert_feed_forward_length", kWidthMax)
                                                          : reader.Int("feed_forward_length", kWidthMax);
  return routed;
}

ExpertScores ReadExpertScores(ConfigReader& reader, ExpertScores otherwise) {
  switch (const int64_t id = reader.IntOr("expert_gating_func", 0, 1 << 20)) {
    case 0:
      return otherwise;
    case 1:
      return ExpertScores::kSoftmax;
    case 2:
      return ExpertScores::kSigmoid;
    case 3:
      return ExpertScores::kSoftmaxOfSelected;
    case 4:
      return ExpertScores::kSqrtSoftplus;
    default:
      reader.Fail(absl::StrFormat("expert_gating_func is %d, want 1 to 4", id));
      return otherwise;
  }
}

void RouteLayers(ModelSpec& spec, const RoutedSpec& routed, int64_t first_layer) {
  for (int64_t i = first_layer; i < static_cast<int64_t>(spec.layers.size()); ++i) {
    spec.layers[i].routed = routed;
  }
}

void WindowLayers(ModelSpec& spec, int64_t window, int64_t period) {
  for (int64_t i = 0; i < static_cast<int64_t>(spec.layers.size()); ++i) {
    spec.layers[i].attention.window = (i + 1) % period != 0 ? window : 0;
  }
}

}  // namespace barn
