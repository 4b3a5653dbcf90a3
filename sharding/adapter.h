#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/formats/dtype.h"
#include "sharding/gguf.h"
#include "sharding/store/store.h"

namespace barn {

inline constexpr int64_t kAdapterRankMax = 4096;

// One factor of an adapter, [rows, cols], and where a file has it.
struct AdapterFactor {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int part = 0;
  int64_t offset_bytes = 0;
  bool transposed = false;  // The file has [cols, rows]; F32, F16 or BF16 then.
};

// What an adapter adds to one weight of a model: W + scale * B A. a: [rank, K], b: [N, rank] for a weight [N, K]. Of
// the token embedding, [V, D], whose rows are looked up: a: [V, rank], b: [D, rank].
struct AdapterPair {
  std::string tensor;  // As the model names it; output.weight also where the head is the embedding.
  float scale = 1;     // alpha / rank.
  AdapterFactor a;
  AdapterFactor b;
  // > 0: B's rows are of so many heads, each with the first of all rotary pairs and then their second, and the model
  // wants pairs side by side (see ReadB).
  int64_t heads_to_pair = 0;

  int64_t rank() const { return b.cols; }
};

// Rows of a factor in memory: F32, F16 or BF16, one behind the other.
struct FactorRows {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<std::byte> bytes = {};
};

// The token embedding, whose adapter is looked up by token.
inline constexpr std::string_view kTokenEmbedding = "token_embd.weight";

// A low-rank adapter (LoRA, Hu et al. 2021) of a model: its header, checked against the model's tensors. Every number
// in its files is untrusted. Thread-safe.
class Adapter {
 public:
  // parts: one GGUF file (general.type "adapter"), or PEFT's adapter_config.json and adapter_model.safetensors, in this
  // order; `base` must be open during the call only. InvalidArgument: what is wrong with which tensor or key, in one
  // line. Unimplemented: a kind of adapter that is known and not supported, by name.
  static absl::StatusOr<std::unique_ptr<Adapter>> Open(std::span<const std::string> parts, const GgufModel& base);
  static absl::StatusOr<std::unique_ptr<Adapter>> Read(std::vector<std::shared_ptr<const Store>> parts,
                                                       const GgufModel& base);

  const std::vector<AdapterPair>& pairs() const { return pairs_; }  // By tensor name.
  int64_t parameters() const;
  int64_t bytes() const;  // In memory, all factors; below 2^62.
  // Names the adapter's bytes, as Store::Identity.
  std::string Identity() const;

  // What is not F32, F16 or BF16 comes as F32. Errors of the store.
  absl::StatusOr<FactorRows> ReadA(const AdapterPair& pair) const;
  // Rows [first, first + count) in the model's order.
  absl::StatusOr<FactorRows> ReadB(const AdapterPair& pair, int64_t first, int64_t count) const;

 private:
  absl::StatusOr<FactorRows> ReadFactor(const AdapterFactor& factor, int64_t first, int64_t count) const;

  std::vector<std::shared_ptr<const Store>> parts_;
  std::vector<AdapterPair> pairs_;
};

// The files of an adapter that a person names: a GGUF file or its URL; a folder with adapter_config.json and
// adapter_model.safetensors, or the path or URL of the latter. NotFound: nothing of the kind is there.
absl::StatusOr<std::vector<std::string>> AdapterParts(std::string_view reference);

// For the readers of both file kinds.
absl::StatusOr<std::vector<AdapterPair>> ReadGgufAdapter(std::shared_ptr<const Store> file, const GgufModel& base);
absl::StatusOr<std::vector<AdapterPair>> ReadPeftAdapter(const Store& config, const Store& tensors,
                                                         const GgufModel& base);
// Whether the pair fits the model; names tensor and numbers. `name`: of the file.
absl::Status CheckAdapterPair(const AdapterPair& pair, const GgufModel& base, const std::string& name);

}  // namespace barn
