#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "sharding/catalogue.h"
#include "sharding/gguf.h"

namespace barn {

// What `barn show` prints about a model: architecture, parameters, bits per weight, bytes by role, layers, experts,
// tensors. Names from the file are escaped, so that they cannot steer a terminal.
std::string ShowText(const GgufModel& model, const Catalogue& catalogue);

// The same as data. Keys: architecture, name, parts, parameters, file_type, bits_per_weight, tensor_bytes,
// bytes_by_role, tied_head, layers [{layer, bytes, bytes_by_role, experts, expert_bytes}], outside_layers {bytes},
// tensors [{name, role, layer, type, dims, part, offset_bytes, size_bytes, experts, expert_bytes}]. experts and
// expert_bytes stand only where there are experts; expert_bytes of a layer is one expert's share of all of the layer's
// expert tensors.
nlohmann::json ShowJson(const GgufModel& model, const Catalogue& catalogue);

}  // namespace barn
