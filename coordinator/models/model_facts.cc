#include "coordinator/models/model_facts.h"

#include <type_traits>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sharding/file_type.h"
#include "sharding/model_config.h"
#include "sharding/store/sha256.h"

namespace barn {
namespace {

constexpr size_t kHeaderTextBytesMax = 4096;  // A template has a field of its own.

// "268M", "8.0B".
std::string ParameterSize(int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (parameters >= 1'000'000'000) return absl::StrFormat("%.1fB", count / 1e9);
  if (parameters >= 1'000'000) return absl::StrFormat("%.0fM", count / 1e6);
  return absl::StrFormat("%.0fK", count / 1e3);
}

nlohmann::json HeaderJson(const GgufMetadata& metadata) {
  nlohmann::json header = nlohmann::json::object();
  for (const auto& [key, value] : metadata.values()) {
    std::visit(
        [&header, &key](const auto& held) {
          using T = std::decay_t<decltype(held)>;
          if constexpr (std::is_same_v<T, std::string>) {
            if (held.size() <= kHeaderTextBytesMax) header[key] = held;
          } else if constexpr (std::is_arithmetic_v<T>) {
            header[key] = held;
          } else {
            header[key] = nullptr;  // Lists are left out, as the dialect does unless asked.
          }
        },
        value);
  }
  return header;
}

// A model of no known architecture says nothing of embeddings, and is not served either.
EmbeddingFacts ReadEmbeddingFacts(const GgufModel& model) {
  EmbeddingFacts facts;
  const absl::StatusOr<ModelConfig> config = ReadModelConfig(model);
  if (!config.ok()) return facts;
  facts.encoder = config->encoder;
  facts.scores = config->score_labels == 1;
  facts.width = config->width;
  facts.pooling_known = config->pooling != PoolingType::kUnspecified && config->pooling != PoolingType::kNone;
  if (config->pooling == PoolingType::kCls || config->pooling == PoolingType::kRank) facts.pooling = Pooling::kFirst;
  if (config->pooling == PoolingType::kLast) facts.pooling = Pooling::kLast;
  return facts;
}

}  // namespace

ModelFacts ReadModelFacts(const GgufModel& model, const std::string& chat_template, const std::string& version) {
  const GgufMetadata& metadata = model.metadata();
  ModelFacts facts;
  facts.family = model.architecture();
  facts.header = HeaderJson(metadata);
  std::string identity = facts.header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  int64_t parameters = 0;
  for (const GgufTensor& tensor : model.tensors()) {
    parameters += tensor.dims[0] * tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
    facts.size_bytes += tensor.size_bytes;
    absl::StrAppend(&identity, "\n", tensor.name, " ", tensor.size_bytes, " ", tensor.offset_bytes);
  }
  facts.header["general.parameter_count"] = parameters;
  facts.parameter_size = ParameterSize(parameters);
  facts.quantization = FileTypeName(metadata.Int("general.file_type").value_or(-1)).value_or("unknown");
  facts.license = metadata.String("general.license").value_or("");
  facts.embedding_length = metadata.Int(facts.family + ".embedding_length").value_or(0);
  facts.embedding = ReadEmbeddingFacts(model);
  facts.chat_template = chat_template;
  facts.digest = Sha256Hex(identity);
  facts.server_version = version;
  return facts;
}

}  // namespace barn
