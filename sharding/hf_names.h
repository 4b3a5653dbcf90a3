#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace barn {

// The GGUF tensor that holds the weight of a module of a Hugging Face model: "model.layers.3.self_attn.q_proj" is
// "blk.3.attn_q.weight". Nullopt: no module of the architectures that this build runs is called so.
std::optional<std::string> GgufTensorOfModule(std::string_view module);

// Whether files of this architecture have the rows of attn_q and attn_k rearranged, so that the two elements of a
// rotary pair stand side by side, where Hugging Face has them half a head apart.
bool PairsRotarySideBySide(std::string_view architecture);

}  // namespace barn
