#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/adapter.h"
#include "sharding/gguf_cursor.h"

// Adapters as llama.cpp's converter writes them: NAME.lora_a with dims [K, rank] and NAME.lora_b with dims [rank, N]
// for a tensor NAME with dims [K, N]; of the token embedding, lora_a is [rank, V] and lora_b [rank, D].

namespace barn {
namespace {

struct Factors {
  const GgufTensor* a = nullptr;
  const GgufTensor* b = nullptr;
};

absl::Status CheckKind(const GgufModel& file, const std::string& name, const GgufModel& base) {
  const GgufMetadata& metadata = file.metadata();
  for (const auto& [key, want] : {std::pair{"general.type", "adapter"}, std::pair{"adapter.type", "lora"}}) {
    const std::optional<std::string> value = metadata.String(key);
    if (value != want) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: %s is %s, want \"%s\"", name, key, value ? QuoteForMessage(*value) : "missing", want));
    }
  }
  if (!file.architecture().empty() && file.architecture() != base.architecture()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: the adapter is for architecture %s, the model is %s", name,
                                                      QuoteForMessage(file.architecture()), base.architecture()));
  }
  for (const auto& [key, value] : metadata.values()) {
    if (key.starts_with("adapter.alora.")) {
      return absl::UnimplementedError(
          absl::StrFormat("%s: activated LoRA (%s) is not supported", name, QuoteForMessage(key)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, Factors>> PairUp(const GgufModel& file, const std::string& name) {
  std::map<std::string, Factors> all;
  for (const GgufTensor& tensor : file.tensors()) {
    const bool is_a = tensor.name.ends_with(".lora_a"), is_b = tensor.name.ends_with(".lora_b");
    if (!is_a && !is_b) {
      return absl::UnimplementedError(
          absl::StrFormat("%s: tensor %s is neither a .lora_a nor a .lora_b", name, QuoteForMessage(tensor.name)));
    }
    if (tensor.dims[3] > 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: tensor %s has 4 dimensions", name, QuoteForMessage(tensor.name)));
    }
    Factors& factors = all[tensor.name.substr(0, tensor.name.size() - 7)];
    (is_a ? factors.a : factors.b) = &tensor;
  }
  for (const auto& [target, factors] : all) {
    if (factors.a == nullptr || factors.b == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: %s has no .lora_%c", name, QuoteForMessage(target), factors.a == nullptr ? 'a' : 'b'));
    }
  }
  return all;
}

// Of adapters of many matrices the third dimension is checked against the model's tensor, which refuses them.
AdapterFactor FactorOf(const GgufTensor& tensor) {
  return {.dtype = tensor.dtype,
          .rows = tensor.dims[1] * tensor.dims[2],
          .cols = tensor.dims[0],
          .offset_bytes = tensor.offset_bytes};
}

}  // namespace

absl::StatusOr<std::vector<AdapterPair>> ReadGgufAdapter(std::shared_ptr<const Store> file, const GgufModel& base) {
  const std::string name = file->Name();
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<GgufModel> header, GgufModel::Read({std::move(file)}));
  BARN_RETURN_IF_ERROR(CheckKind(*header, name, base));
  const std::optional<double> alpha = header->metadata().Float("adapter.lora.alpha");
  if (!alpha) return absl::InvalidArgumentError(name + ": adapter.lora.alpha is missing or no number");
  BARN_ASSIGN_OR_RETURN(const auto all, PairUp(*header, name));
  std::vector<AdapterPair> pairs;
  for (const auto& [target, factors] : all) {
    AdapterPair pair{.tensor = target, .a = FactorOf(*factors.a), .b = FactorOf(*factors.b)};
    // An alpha of 0 stands for none.
    if (*alpha != 0) pair.scale = static_cast<float>(*alpha / static_cast<double>(pair.rank()));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

}  // namespace barn
