#include "sharding/catalogue.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"
#include "sharding/limits.h"
#include "sharding/model_config.h"

namespace barn {
namespace {

// A tensor name in parts: "blk.7.ffn_up_exps.weight" is layer 7, stem "ffn_up_exps".
struct NameParts {
  int64_t layer = -1;
  std::string_view stem;  // Without the layer and without the last word (weight, bias, scale).
};

std::optional<int64_t> AllDigits(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

NameParts SplitName(std::string_view name) {
  NameParts parts;
  constexpr std::string_view kLayerPrefix = "blk.";
  if (name.starts_with(kLayerPrefix)) {
    const size_t dot = name.find('.', kLayerPrefix.size());
    if (dot != std::string_view::npos) {
      const auto layer = AllDigits(name.substr(kLayerPrefix.size(), dot - kLayerPrefix.size()));
      if (layer) {
        parts.layer = *layer;
        name = name.substr(dot + 1);
      }
    }
  }
  parts.stem = name.substr(0, name.rfind('.'));
  return parts;
}

// Old Mixtral files hold "ffn_gate.3.weight" for each expert.
bool IsSingleExpert(std::string_view stem) {
  const size_t dot = stem.find('.');
  if (dot == std::string_view::npos || !AllDigits(stem.substr(dot + 1))) return false;
  const std::string_view matrix = stem.substr(0, dot);
  return matrix == "ffn_gate" || matrix == "ffn_up" || matrix == "ffn_down";
}

TensorRole RoleOutsideLayers(std::string_view stem) {
  if (stem.find("_norm") != std::string_view::npos) return TensorRole::kNorm;
  if (stem == "token_embd" || stem == "position_embd" || stem == "token_types") return TensorRole::kEmbedding;
  if (stem == "output" || stem == "cls" || stem == "cls.output" || stem == "dense_2" || stem == "dense_3")
    return TensorRole::kHead;
  return TensorRole::kOther;
}

TensorRole RoleInLayer(std::string_view stem) {
  if (stem.find("_norm") != std::string_view::npos) return TensorRole::kNorm;
  if (stem.ends_with("_exps")) return TensorRole::kExpert;
  if (stem.ends_with("_shexp")) return TensorRole::kSharedExpert;
  if (stem == "ffn_gate_inp" || stem == "exp_probs_b") return TensorRole::kRouter;
  if (stem.starts_with("attn_")) return TensorRole::kAttention;
  if (stem == "ffn_gate" || stem == "ffn_up" || stem == "ffn_down") return TensorRole::kDenseFfn;
  return TensorRole::kOther;
}

// Experts are a tensor's last dimension: weights [in, out, experts], biases [out, experts].
absl::Status CountExperts(CatalogueEntry& entry, int64_t experts_expected) {
  const GgufTensor& tensor = entry.tensor;
  const int64_t experts = tensor.dims[tensor.dim_count - 1];
  if (experts_expected > 0 && experts != experts_expected) {
    return absl::InvalidArgumentError(absl::StrFormat("tensor %s holds %d experts, but expert_count is %d",
                                                      QuoteForMessage(tensor.name), experts, experts_expected));
  }
  if (tensor.dim_count < 2 && Info(tensor.dtype).block_elements != 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tensor %s: one dimension of %s blocks cannot be cut into experts",
                        QuoteForMessage(tensor.name), Info(tensor.dtype).name));
  }
  entry.experts = experts;
  entry.expert_bytes = tensor.size_bytes / experts;
  return absl::OkStatus();
}

absl::StatusOr<CatalogueEntry> Classify(const GgufTensor& tensor, int64_t layers, int64_t layers_and_extra,
                                        int64_t experts_expected) {
  CatalogueEntry entry{.tensor = tensor};
  const NameParts parts = SplitName(tensor.name);
  entry.layer = parts.layer;
  if (parts.layer < 0) {
    entry.role = RoleOutsideLayers(parts.stem);
    return entry;
  }
  if (parts.layer >= layers_and_extra) {
    return absl::InvalidArgumentError(absl::StrFormat("tensor %s: the layers end at %d (block_count)",
                                                      QuoteForMessage(tensor.name), layers_and_extra));
  }
  if (IsSingleExpert(parts.stem)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tensor %s: files with one tensor per expert are an old layout that is not supported; convert the "
        "model again",
        QuoteForMessage(tensor.name)));
  }
  // Layers for multi-token prediction stand behind the others and are not run.
  entry.role = parts.layer < layers ? RoleInLayer(parts.stem) : TensorRole::kOther;
  if (entry.role == TensorRole::kExpert) BARN_RETURN_IF_ERROR(CountExperts(entry, experts_expected));
  return entry;
}

// block_count, or what the names say where the key is missing (files without an architecture).
absl::StatusOr<int64_t> CountLayers(const GgufModel& model) {
  const std::optional<int64_t> stated = model.metadata().Int(model.architecture() + ".block_count");
  int64_t layers = stated.value_or(0);
  if (!stated) {
    for (const GgufTensor& tensor : model.tensors()) layers = std::max(layers, SplitName(tensor.name).layer + 1);
  }
  if (layers < 0 || layers > kLayersMax) {
    return absl::InvalidArgumentError(absl::StrFormat("metadata key %s is %d, not 0 to %d",
                                                      QuoteForMessage(model.architecture() + ".block_count"), layers,
                                                      kLayersMax));
  }
  return layers;
}

}  // namespace

const char* RoleName(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbedding:
      return "embedding";
    case TensorRole::kAttention:
      return "attention";
    case TensorRole::kDenseFfn:
      return "dense_ffn";
    case TensorRole::kRouter:
      return "router";
    case TensorRole::kExpert:
      return "expert";
    case TensorRole::kSharedExpert:
      return "shared_expert";
    case TensorRole::kNorm:
      return "norm";
    case TensorRole::kHead:
      return "head";
    case TensorRole::kOther:
      break;
  }
  return "other";
}

int64_t Catalogue::LayerBytes(int64_t layer) const {
  BARN_CHECK(layer >= 0 && layer < layers);
  return layer_bytes[static_cast<size_t>(layer)];
}

absl::StatusOr<Catalogue> BuildCatalogue(const GgufModel& model) {
  const GgufMetadata& metadata = model.metadata();
  const std::string prefix = model.architecture() + ".";
  Catalogue catalogue;
  BARN_ASSIGN_OR_RETURN(const int64_t layers_and_extra, CountLayers(model));
  const int64_t extra = metadata.Int(prefix + "nextn_predict_layers").value_or(0);
  if (extra < 0 || extra > layers_and_extra) {
    return absl::InvalidArgumentError(absl::StrFormat("metadata key %s is %d, but block_count is %d",
                                                      QuoteForMessage(prefix + "nextn_predict_layers"), extra,
                                                      layers_and_extra));
  }
  catalogue.layers = layers_and_extra - extra;
  catalogue.layer_bytes.resize(static_cast<size_t>(catalogue.layers));
  const int64_t experts = metadata.Int(prefix + "expert_count").value_or(0);
  catalogue.entries.reserve(model.tensors().size());
  for (const GgufTensor& tensor : model.tensors()) {
    BARN_ASSIGN_OR_RETURN(CatalogueEntry entry, Classify(tensor, catalogue.layers, layers_and_extra, experts));
    catalogue.total_bytes += tensor.size_bytes;
    catalogue.bytes_by_role[static_cast<size_t>(entry.role)] += tensor.size_bytes;
    if (entry.layer >= 0 && entry.layer < catalogue.layers) {
      catalogue.layer_bytes[static_cast<size_t>(entry.layer)] += tensor.size_bytes;
    }
    catalogue.entries.push_back(std::move(entry));
  }
  for (int64_t layer = 0; layer < catalogue.layers && !catalogue.entries.empty(); ++layer) {
    if (catalogue.LayerBytes(layer) == 0) {
      return absl::InvalidArgumentError(absl::StrFormat("layer %d of %d has no tensors", layer, catalogue.layers));
    }
  }
  catalogue.tied_head = !IsEncoderArchitecture(model.architecture()) && model.FindTensor("output.weight") == nullptr &&
                        model.FindTensor("token_embd.weight") != nullptr;
  return catalogue;
}

ModelRange ExpertRange(const CatalogueEntry& entry, int64_t expert) {
  BARN_CHECK(expert >= 0 && expert < entry.experts);
  return {.part = entry.tensor.part,
          .offset_bytes = entry.tensor.offset_bytes + expert * entry.expert_bytes,
          .size_bytes = entry.expert_bytes};
}

}  // namespace barn
