#include "worker/model/architectures.h"

#include <cmath>
#include <map>
#include <string_view>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using Describe = ModelSpec (*)(ConfigReader&);

const std::map<std::string, Describe, std::less<>>& Registry() {
  static const auto* registry = new std::map<std::string, Describe, std::less<>>{
      {"bert", DescribeBert},
      {"command-r", DescribeCommandR},
      {"deepseek2", DescribeDeepseek2},
      {"gemma2", DescribeGemma2},
      {"gemma3", DescribeGemma3},
      {"gemma-embedding", DescribeGemmaEmbedding},
      {"glm4moe", DescribeGlm4Moe},
      {"gpt-oss", DescribeGptOss},
      {"granitemoe", DescribeGraniteMoe},
      {"jina-bert-v2", DescribeJinaBertV2},
      {"llama", DescribeLlama},
      {"llama4", DescribeLlama4},
      {"mistral3", DescribeMistral3},
      {"modern-bert", DescribeModernBert},
      {"nomic-bert", DescribeNomicBert},
      {"olmoe", DescribeOlmoe},
      {"phi3", DescribePhi3},
      {"qwen2", DescribeQwen2},
      {"qwen2moe", DescribeQwen2Moe},
      {"qwen3", DescribeQwen3},
      {"qwen3moe", DescribeQwen3Moe},
      {"starcoder2", DescribeStarcoder2},
  };
  return *registry;
}

// What the blocks rely on whichever file described the layer.
void CheckLayer(ConfigReader& reader, const LayerSpec& layer) {
  const AttentionSpec& attention = layer.attention;
  reader.Require(std::isfinite(attention.scale), "the attention scale is not finite");
  reader.Require(attention.softcap >= 0, "the attention softcap is negative");
  reader.Require(!attention.both_ways || (!attention.mla && attention.chunk == 0),
                 "attention both ways is neither latent nor in chunks");
  if (!layer.routed) {
    reader.Require(layer.dense.width > 0, "key feed_forward_length is missing or 0");
    return;
  }
  const RoutingSpec& routing = layer.routed->routing;
  const bool grouped = routing.groups >= 1 && routing.groups_used >= 1 && routing.groups_used <= routing.groups &&
                       routing.experts % routing.groups == 0 &&
                       routing.groups_used * (routing.experts / routing.groups) >= routing.used;
  reader.Require(grouped, absl::StrFormat("%d of %d expert groups cannot give %d of %d experts", routing.groups_used,
                                          routing.groups, routing.used, routing.experts));
}

}  // namespace

std::vector<std::string> DescribedArchitectures() {
  std::vector<std::string> names;
  for (const auto& [name, describe] : Registry()) {
    names.push_back(name);
  }
  return names;
}

absl::StatusOr<ModelSpec> DescribeModel(const GgufModel& model, int64_t context_tokens) {
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(model));
  const auto found = Registry().find(config.architecture);
  if (found == Registry().end()) {
    return absl::UnimplementedError(absl::StrFormat("architecture \"%s\" is not supported", config.architecture));
  }
  ConfigReader reader(model, config, context_tokens > 0 ? context_tokens : config.context_tokens);
  ModelSpec spec = found->second(reader);
  spec.encoder = config.encoder;
  spec.scores = config.score_labels == 1;
  for (LayerSpec& layer : spec.layers) {
    layer.attention.both_ways = config.encoder;
    CheckLayer(reader, layer);
  }
  BARN_RETURN_IF_ERROR(reader.status());
  return spec;
}

}  // namespace barn
