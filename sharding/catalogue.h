#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/gguf.h"

namespace barn {

enum class TensorRole { kEmbedding, kAttention, kDenseFfn, kRouter, kExpert, kSharedExpert, kNorm, kHead, kOther };
inline constexpr int kTensorRoles = 9;

const char* RoleName(TensorRole role);

struct CatalogueEntry {
  GgufTensor tensor;
  TensorRole role = TensorRole::kOther;
  int64_t layer = -1;   // -1: outside the layers.
  int64_t experts = 0;  // > 0: the tensor holds this many experts, each expert_bytes long, back to back.
  int64_t expert_bytes = 0;
};

// [offset_bytes, offset_bytes + size_bytes) of one part of a model.
struct ModelRange {
  int part = 0;
  int64_t offset_bytes = 0;
  int64_t size_bytes = 0;
};

// A model's tensors by role and layer.
struct Catalogue {
  std::vector<CatalogueEntry> entries;  // In file order.
  int64_t layers = 0;                   // Without layers for multi-token prediction; their tensors are kOther.
  std::vector<int64_t> layer_bytes;     // [layers]
  int64_t total_bytes = 0;
  std::array<int64_t, kTensorRoles> bytes_by_role = {};
  bool tied_head = false;  // No output.weight: the embedding serves.

  int64_t LayerBytes(int64_t layer) const;
};

// InvalidArgument: a layer beyond block_count, a layer without tensors, expert tensors that disagree with expert_count,
// or the old layout of one tensor per expert.
absl::StatusOr<Catalogue> BuildCatalogue(const GgufModel& model);

// The bytes of expert `expert` of an expert tensor.
ModelRange ExpertRange(const CatalogueEntry& entry, int64_t expert);

}  // namespace barn
