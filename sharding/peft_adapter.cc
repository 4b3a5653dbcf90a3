#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "proto/base/status.h"
#include "sharding/adapter.h"
#include "sharding/gguf_cursor.h"
#include "sharding/hf_names.h"
#include "sharding/limits.h"
#include "sharding/safetensors.h"

// Adapters as PEFT saves them: adapter_config.json beside tensors base_model.model.MODULE.lora_A.weight, [rank, K], and
// lora_B.weight, [N, rank]; of an embedding lora_embedding_A, [rank, V], and lora_embedding_B, [D, rank].

namespace barn {
namespace {

constexpr int64_t kConfigBytesMax = int64_t{1} << 20;
constexpr std::string_view kPrefix = "base_model.model.";

// What a module's rank and alpha are.
struct PeftConfig {
  int64_t rank = 0;
  double alpha = 0;
  bool rank_stabilized = false;  // alpha / sqrt(rank), Kalajdzievski 2023.
  std::map<std::string, int64_t> ranks;
  std::map<std::string, double> alphas;
};

// Settings that change what the tensors mean, and the values that leave it as it is.
absl::Status CheckNothingElse(const nlohmann::json& config, const std::string& name) {
  const auto refuse = [&](const char* key, const nlohmann::json& value) {
    return absl::UnimplementedError(
        absl::StrFormat("%s: %s %s is not supported", name, key, QuoteForMessage(value.dump(-1, ' ', true))));
  };
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"}) {
    const auto found = config.find(key);
    if (found != config.end() && !found->is_null() && *found != false) return refuse(key, *found);
  }
  for (const char* key :
       {"modules_to_save", "alora_invocation_tokens", "trainable_token_indices", "layer_replication"}) {
    const auto found = config.find(key);
    if (found != config.end() && !found->is_null() && !found->empty()) return refuse(key, *found);
  }
  const auto bias = config.find("bias");
  if (bias != config.end() && *bias != "none") return refuse("bias", *bias);
  return absl::OkStatus();
}

// Keys of a pattern are the ends of module names; regular expressions are refused, and so is what is no number.
template <class Number>
absl::Status ReadPattern(const nlohmann::json& config, const char* key, const std::string& name,
                         std::map<std::string, Number>& out) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return absl::OkStatus();
  if (!found->is_object()) return absl::InvalidArgumentError(absl::StrFormat("%s: %s is no object", name, key));
  for (const auto& [module, value] : found->items()) {
    const bool plain = std::all_of(module.begin(), module.end(),
                                   [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.'; });
    if (!plain) {
      return absl::UnimplementedError(absl::StrFormat("%s: %s has %s, a pattern; only names of modules are supported",
                                                      name, key, QuoteForMessage(module)));
    }
    if (!value.is_number()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: %s of %s is no number", name, key, QuoteForMessage(module)));
    }
    out[module] = value.template get<Number>();
  }
  return absl::OkStatus();
}

absl::StatusOr<PeftConfig> ReadConfig(const Store& file) {
  const std::string name = file.Name();
  if (file.size_bytes() > kConfigBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has %d bytes, at most %d are read", name, file.size_bytes(), kConfigBytesMax));
  }
  std::string text(static_cast<size_t>(file.size_bytes()), '\0');
  BARN_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(text))));
  const nlohmann::json config = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError(name + " is no JSON object");
  const auto type = config.find("peft_type");
  if (type == config.end() || *type != "LORA") {
    return absl::UnimplementedError(
        absl::StrFormat("%s: peft_type is %s, want \"LORA\"", name,
                        type == config.end() ? "missing" : QuoteForMessage(type->dump(-1, ' ', true))));
  }
  BARN_RETURN_IF_ERROR(CheckNothingElse(config, name));
  PeftConfig out;
  const auto rank = config.find("r"), alpha = config.find("lora_alpha"), stabilized = config.find("use_rslora");
  if (rank == config.end() || !rank->is_number_unsigned() || alpha == config.end() || !alpha->is_number()) {
    return absl::InvalidArgumentError(name + ": r or lora_alpha is missing or no number");
  }
  out.rank = rank->get<int64_t>();
  out.alpha = alpha->get<double>();
  out.rank_stabilized = stabilized != config.end() && *stabilized == true;
  BARN_RETURN_IF_ERROR(ReadPattern(config, "rank_pattern", name, out.ranks));
  BARN_RETURN_IF_ERROR(ReadPattern(config, "alpha_pattern", name, out.alphas));
  return out;
}

// The entry whose key is the module's name or its end.
template <class Number>
Number ForModule(const std::map<std::string, Number>& pattern, const std::string& module, Number otherwise) {
  for (const auto& [key, value] : pattern) {
    if (module == key || module.ends_with("." + key)) return value;
  }
  return otherwise;
}

// What stands between a tensor's name and the module: which factor it is.
struct FactorName {
  std::string module;
  bool is_b = false;
  bool embedding = false;
};

std::optional<FactorName> ParseName(std::string_view name) {
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  if (name.ends_with(".weight")) name.remove_suffix(7);
  if (name.ends_with(".default")) name.remove_suffix(8);
  for (const auto& [suffix, is_b, embedding] :
       {std::tuple{".lora_A", false, false}, std::tuple{".lora_B", true, false},
        std::tuple{".lora_embedding_A", false, true}, std::tuple{".lora_embedding_B", true, true}}) {
    if (!name.ends_with(suffix)) continue;
    name.remove_suffix(std::string_view(suffix).size());
    return FactorName{.module = std::string(name), .is_b = is_b, .embedding = embedding};
  }
  return std::nullopt;
}

struct Factors {
  std::string module;
  const SafeTensor* a = nullptr;
  const SafeTensor* b = nullptr;
};

absl::StatusOr<std::map<std::string, Factors>> PairUp(const std::map<std::string, SafeTensor>& tensors,
                                                      const std::string& name) {
  std::map<std::string, Factors> all;  // By GGUF name.
  for (const auto& [key, tensor] : tensors) {
    const std::optional<FactorName> factor = ParseName(key);
    const std::optional<std::string> target = factor ? GgufTensorOfModule(factor->module) : std::nullopt;
    if (!target || factor->embedding != (*target == kTokenEmbedding)) {
      return absl::UnimplementedError(absl::StrFormat(
          "%s: tensor %s belongs to no weight that an adapter may have here", name, QuoteForMessage(key)));
    }
    if (tensor.shape.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: tensor %s has %d dimensions, want 2", name, QuoteForMessage(key), tensor.shape.size()));
    }
    Factors& factors = all[*target];
    const SafeTensor*& slot = factor->is_b ? factors.b : factors.a;
    if (slot != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: tensor %s is there twice, under two names", name, QuoteForMessage(key)));
    }
    factors.module = factor->module;
    slot = &tensor;
  }
  for (const auto& [target, factors] : all) {
    if (factors.a == nullptr || factors.b == nullptr) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: module %s has no lora_%c", name, QuoteForMessage(factors.module), factors.a == nullptr ? 'A' : 'B'));
    }
  }
  return all;
}

AdapterFactor FactorOf(const SafeTensor& tensor, bool transposed) {
  return {.dtype = tensor.dtype,
          .rows = tensor.shape[transposed ? 1 : 0],
          .cols = tensor.shape[transposed ? 0 : 1],
          .part = 1,
          .offset_bytes = tensor.offset_bytes,
          .transposed = transposed};
}

// A number for all layers, or one for each.
int64_t HeadCount(const GgufModel& base, const std::string& key, int64_t layer, int64_t otherwise) {
  const auto counts = base.metadata().Ints(absl::StrCat(base.architecture(), ".", key));
  if (!counts || counts->empty()) return otherwise;
  const size_t index = counts->size() == 1 ? 0 : std::min(static_cast<size_t>(layer), counts->size() - 1);
  return (*counts)[index] >= 1 && (*counts)[index] <= kHeadsMax ? (*counts)[index] : otherwise;
}

int64_t HeadsToPair(const std::string& tensor, const GgufModel& base) {
  const bool is_q = tensor.ends_with(".attn_q.weight"), is_k = tensor.ends_with(".attn_k.weight");
  if (!PairsRotarySideBySide(base.architecture()) || !(is_q || is_k)) return 0;
  int64_t layer = 0;  // "blk.<layer>.", as GgufTensorOfModule wrote it.
  const std::string_view digits = std::string_view(tensor).substr(4);
  if (!absl::SimpleAtoi({digits.data(), digits.find('.')}, &layer)) return 0;
  const int64_t heads = HeadCount(base, "attention.head_count", layer, 1);
  return is_q ? heads : HeadCount(base, "attention.head_count_kv", layer, heads);
}

}  // namespace

absl::StatusOr<std::vector<AdapterPair>> ReadPeftAdapter(const Store& config_file, const Store& tensors_file,
                                                         const GgufModel& base) {
  const std::string name = tensors_file.Name();
  BARN_ASSIGN_OR_RETURN(const PeftConfig config, ReadConfig(config_file));
  BARN_ASSIGN_OR_RETURN(const auto tensors, ReadSafetensors(tensors_file));
  BARN_ASSIGN_OR_RETURN(const auto all, PairUp(tensors, name));
  std::vector<AdapterPair> pairs;
  for (const auto& [target, factors] : all) {
    AdapterPair pair{.tensor = target,
                     .a = FactorOf(*factors.a, target == kTokenEmbedding),
                     .b = FactorOf(*factors.b, false),
                     .heads_to_pair = HeadsToPair(target, base)};
    const int64_t rank = ForModule(config.ranks, factors.module, config.rank);
    if (pair.rank() != rank) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: module %s has rank %d, %s says %d", name,
                                                        QuoteForMessage(factors.module), pair.rank(),
                                                        config_file.Name(), rank));
    }
    const double alpha = ForModule(config.alphas, factors.module, config.alpha);
    const auto divisor = static_cast<double>(std::max<int64_t>(1, rank));
    pair.scale = static_cast<float>(alpha / (config.rank_stabilized ? std::sqrt(divisor) : divisor));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

}  // namespace barn
