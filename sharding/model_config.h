#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/formats/kv_type.h"
#include "sharding/gguf.h"

namespace barn {

// How a layer's attention stores keys and values, for the planner and for the KV cache. MLA: kv_heads 1,
// k_width = kv rank + rope, v_width = kv rank, v_is_k_prefix (nothing stored for values).
struct KvShape {
  int64_t kv_heads = 0;
  int64_t k_width = 0;
  int64_t v_width = 0;
  bool v_is_k_prefix = false;

  int64_t elements_per_token() const { return kv_heads * (k_width + (v_is_k_prefix ? 0 : v_width)); }
  int64_t bytes_per_token(KvType type) const {
    return kv_heads * (KvRowBytes(type, k_width) + (v_is_k_prefix ? 0 : KvRowBytes(type, v_width)));
  }
};

// How an embedding model wants its rows pooled, by the numbers of the GGUF key pooling_type. kRank: the classification
// head's number.
enum class PoolingType { kUnspecified = -1, kNone = 0, kMean = 1, kCls = 2, kLast = 3, kRank = 4 };

// What every architecture needs, from metadata and tensor shapes. Hyperparameters that only one architecture has are
// read by that architecture's file in worker/model.
struct ModelConfig {
  std::string architecture;
  std::string name;
  int64_t layers = 0;  // Without layers for multi-token prediction.
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t context_tokens = 0;  // The longest context that the model was trained for.
  int64_t experts = 0;
  int64_t experts_used = 0;
  std::vector<KvShape> kv;  // [layers]
  // Reads a sequence both ways, whole, and gives embeddings; it generates nothing.
  bool encoder = false;
  PoolingType pooling = PoolingType::kUnspecified;
  int64_t score_labels = 0;  // Outputs of the classification head; 0: it has none.
};

// Architectures that this build runs, by GGUF general.architecture, sorted.
const std::vector<std::string>& SupportedArchitectures();

// Architectures that are encoders whatever their metadata say.
bool IsEncoderArchitecture(std::string_view architecture);

// Unimplemented: the architecture is not supported (names it and lists the supported ones). InvalidArgument: a key is
// missing or out of bounds, by name.
absl::StatusOr<ModelConfig> ReadModelConfig(const GgufModel& model);

}  // namespace barn
