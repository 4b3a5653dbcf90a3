#include "sharding/model_config.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"
#include "sharding/limits.h"

namespace barn {
namespace {

// Reads keys below the architecture's prefix and checks their bounds; errors name the whole key.
class KeyReader {
 public:
  explicit KeyReader(const GgufModel& model) : metadata_(model.metadata()), prefix_(model.architecture() + ".") {}

  bool Has(const std::string& key) const { return metadata_.Find(prefix_ + key) != nullptr; }

  absl::StatusOr<int64_t> Int(const std::string& key, int64_t least, int64_t most) const {
    if (!Has(key)) return absl::InvalidArgumentError(absl::StrFormat("metadata key %s%s is missing", prefix_, key));
    const std::optional<int64_t> value = metadata_.Int(prefix_ + key);
    if (!value) return absl::InvalidArgumentError(absl::StrFormat("metadata key %s%s is no integer", prefix_, key));
    return Check(key, *value, least, most);
  }

  absl::StatusOr<int64_t> IntOr(const std::string& key, int64_t missing, int64_t least, int64_t most) const {
    if (!Has(key)) return missing;
    return Int(key, least, most);
  }

  // One value for each layer: the key holds one number for all of them, or an array of at least `layers`.
  absl::StatusOr<std::vector<int64_t>> PerLayer(const std::string& key, int64_t layers, int64_t least,
                                                int64_t most) const {
    if (!Has(key)) return absl::InvalidArgumentError(absl::StrFormat("metadata key %s%s is missing", prefix_, key));
    std::optional<std::vector<int64_t>> values = metadata_.Ints(prefix_ + key);
    if (!values)
      return absl::InvalidArgumentError(absl::StrFormat("metadata key %s%s holds no integers", prefix_, key));
    const auto count = static_cast<int64_t>(values->size());
    if (count != 1 && count < layers) {
      return absl::InvalidArgumentError(
          absl::StrFormat("metadata key %s%s has %d values for %d layers", prefix_, key, count, layers));
    }
    for (const int64_t value : *values) BARN_RETURN_IF_ERROR(Check(key, value, least, most).status());
    const int64_t first = values->front();
    values->resize(static_cast<size_t>(layers), first);
    return *std::move(values);
  }

 private:
  absl::StatusOr<int64_t> Check(const std::string& key, int64_t value, int64_t least, int64_t most) const {
    if (value >= least && value <= most) return value;
    return absl::InvalidArgumentError(
        absl::StrFormat("metadata key %s%s is %d, not %d to %d", prefix_, key, value, least, most));
  }

  const GgufMetadata& metadata_;
  const std::string prefix_;
};

// Multi-head latent attention of DeepSeek: one shared latent row per token, of which the values are a prefix.
absl::StatusOr<std::vector<KvShape>> ReadLatentKv(const KeyReader& keys, int64_t layers) {
  BARN_ASSIGN_OR_RETURN(const int64_t k_width, keys.Int("attention.key_length", 1, kHeadWidthMax));
  BARN_ASSIGN_OR_RETURN(const int64_t v_width, keys.Int("attention.value_length", 1, k_width));
  const KvShape shape{.kv_heads = 1, .k_width = k_width, .v_width = v_width, .v_is_k_prefix = true};
  return std::vector<KvShape>(static_cast<size_t>(layers), shape);
}

absl::StatusOr<std::vector<KvShape>> ReadKv(const KeyReader& keys, const ModelConfig& config) {
  if (config.architecture == "deepseek2" && keys.Has("attention.key_length_mla")) {
    return ReadLatentKv(keys, config.layers);
  }
  BARN_ASSIGN_OR_RETURN(const std::vector<int64_t> heads,
                        keys.PerLayer("attention.head_count", config.layers, 1, kHeadsMax));
  std::vector<int64_t> kv_heads = heads;
  // The expanded keys of the old DeepSeek layout differ for every head, whatever head_count_kv says.
  if (config.architecture != "deepseek2" && keys.Has("attention.head_count_kv")) {
    BARN_ASSIGN_OR_RETURN(kv_heads, keys.PerLayer("attention.head_count_kv", config.layers, 1, kHeadsMax));
  }
  std::vector<KvShape> shapes;
  for (size_t layer = 0; layer < heads.size(); ++layer) {
    if (heads[layer] % kv_heads[layer] != 0) {
      return absl::InvalidArgumentError(absl::StrFormat("layer %d: %d attention heads are no multiple of %d KV heads",
                                                        layer, heads[layer], kv_heads[layer]));
    }
    const int64_t even_width = config.width / heads[layer];
    KvShape shape{.kv_heads = kv_heads[layer]};
    BARN_ASSIGN_OR_RETURN(shape.k_width, keys.IntOr("attention.key_length", even_width, 1, kHeadWidthMax));
    BARN_ASSIGN_OR_RETURN(shape.v_width, keys.IntOr("attention.value_length", even_width, 1, kHeadWidthMax));
    if (shape.k_width < 1 || shape.v_width < 1 || shape.elements_per_token() > kKvElementsPerTokenMax) {
      return absl::InvalidArgumentError(
          absl::StrFormat("layer %d: %d KV heads with keys of %d and values of %d are not 1 to %d elements per token",
                          layer, shape.kv_heads, shape.k_width, shape.v_width, kKvElementsPerTokenMax));
    }
    shapes.push_back(shape);
  }
  return shapes;
}

// What it is as an embedding model. A classification head ends in cls.output, or is cls alone.
absl::Status ReadEmbedding(const GgufModel& model, const KeyReader& keys, ModelConfig& config) {
  const std::optional<bool> causal = model.metadata().Bool(config.architecture + ".attention.causal");
  config.encoder = IsEncoderArchitecture(config.architecture) || !causal.value_or(true);
  BARN_ASSIGN_OR_RETURN(const int64_t pooling, keys.IntOr("pooling_type", -1, -1, 4));
  config.pooling = static_cast<PoolingType>(pooling);
  const GgufTensor* head = model.FindTensor("cls.output.weight");
  if (head == nullptr) head = model.FindTensor("cls.weight");
  if (head != nullptr && model.FindTensor("cls.norm.weight") == nullptr) {
    config.score_labels = std::min(head->dims[1], kVocabularyMax);
  }
  return absl::OkStatus();
}

// The vocabulary is what the embedding has rows for; the width must agree with the metadata.
absl::Status ReadVocabulary(const GgufModel& model, ModelConfig& config) {
  const GgufTensor* embedding = model.FindTensor("token_embd.weight");
  if (embedding == nullptr) return absl::InvalidArgumentError("tensor token_embd.weight is missing");
  if (embedding->dim_count != 2 || embedding->dims[0] != config.width || embedding->dims[1] > kVocabularyMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tensor token_embd.weight has shape [%d, %d] in %d dimensions; wanted [%d, 1 to %d]",
                        embedding->dims[0], embedding->dims[1], embedding->dim_count, config.width, kVocabularyMax));
  }
  config.vocabulary = embedding->dims[1];
  return absl::OkStatus();
}

}  // namespace

const std::vector<std::string>& SupportedArchitectures() {
  static const auto* const kSorted = new std::vector<std::string>{
      "bert",       "command-r",    "deepseek2", "gemma-embedding", "gemma2",   "gemma3",      "glm4moe",    "gpt-oss",
      "granitemoe", "jina-bert-v2", "llama",     "llama4",          "mistral3", "modern-bert", "nomic-bert", "olmoe",
      "phi3",       "qwen2",        "qwen2moe",  "qwen3",           "qwen3moe", "starcoder2"};
  return *kSorted;
}

bool IsEncoderArchitecture(std::string_view architecture) {
  return architecture == "bert" || architecture == "gemma-embedding" || architecture == "jina-bert-v2" ||
         architecture == "modern-bert" || architecture == "nomic-bert";
}

absl::StatusOr<ModelConfig> ReadModelConfig(const GgufModel& model) {
  ModelConfig config;
  config.architecture = model.architecture();
  if (config.architecture.empty()) {
    return absl::InvalidArgumentError("metadata key general.architecture is missing or no string");
  }
  const std::vector<std::string>& supported = SupportedArchitectures();
  if (!std::binary_search(supported.begin(), supported.end(), config.architecture)) {
    return absl::UnimplementedError(absl::StrFormat("architecture %s is not supported; supported are %s",
                                                    QuoteForMessage(config.architecture),
                                                    absl::StrJoin(supported, ", ")));
  }
  config.name = model.metadata().String("general.name").value_or("");
  const KeyReader keys(model);
  BARN_ASSIGN_OR_RETURN(const int64_t blocks, keys.Int("block_count", 1, kLayersMax));
  BARN_ASSIGN_OR_RETURN(const int64_t extra, keys.IntOr("nextn_predict_layers", 0, 0, blocks - 1));
  config.layers = blocks - extra;
  BARN_ASSIGN_OR_RETURN(config.width, keys.Int("embedding_length", 1, kWidthMax));
  BARN_ASSIGN_OR_RETURN(config.context_tokens, keys.Int("context_length", 1, kContextTokensMax));
  BARN_ASSIGN_OR_RETURN(config.experts, keys.IntOr("expert_count", 0, 0, kExpertsMax));
  if (config.experts > 0) {
    BARN_ASSIGN_OR_RETURN(config.experts_used, keys.Int("expert_used_count", 1, config.experts));
  }
  BARN_RETURN_IF_ERROR(ReadVocabulary(model, config));
  BARN_RETURN_IF_ERROR(ReadEmbedding(model, keys, config));
  BARN_ASSIGN_OR_RETURN(config.kv, ReadKv(keys, config));
  return config;
}

}  // namespace barn
