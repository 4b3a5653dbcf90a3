#include "sharding/hf_names.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "sharding/limits.h"

namespace barn {
namespace {

using Name = std::pair<std::string_view, std::string_view>;

// Within a layer.
constexpr Name kLayerModules[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {"feed_forward.gate_proj", "ffn_gate"},
    {"feed_forward.up_proj", "ffn_up"},
    {"feed_forward.down_proj", "ffn_down"},
    {"feed_forward.router", "ffn_gate_inp"},
    {"feed_forward.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"feed_forward.shared_expert.up_proj", "ffn_up_shexp"},
    {"feed_forward.shared_expert.down_proj", "ffn_down_shexp"},
};

}  // namespace

std::optional<std::string> GgufTensorOfModule(std::string_view module) {
  // Models with pictures wrap the language model.
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view wrapper : {"model.", "language_model."}) {
      if (module.starts_with(wrapper)) module.remove_prefix(wrapper.size()), again = true;
    }
  }
  if (module == "embed_tokens") return "token_embd.weight";
  if (module == "lm_head") return "output.weight";
  constexpr std::string_view kLayers = "layers.";
  if (!module.starts_with(kLayers)) return std::nullopt;
  module.remove_prefix(kLayers.size());
  const size_t dot = module.find('.');
  int64_t layer = -1;
  if (dot == std::string_view::npos || !absl::SimpleAtoi({module.data(), dot}, &layer) || layer < 0 ||
      layer >= kLayersMax) {
    return std::nullopt;
  }
  const std::string_view within = module.substr(dot + 1);
  const auto* found = std::find_if(std::begin(kLayerModules), std::end(kLayerModules),
                                   [&](const Name& name) { return name.first == within; });
  if (found == std::end(kLayerModules)) return std::nullopt;
  return absl::StrCat("blk.", layer, ".", std::string(found->second), ".weight");
}

bool PairsRotarySideBySide(std::string_view architecture) {
  return architecture == "llama" || architecture == "mistral3" || architecture == "granitemoe";
}

}  // namespace barn
