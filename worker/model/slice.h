#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "sharding/gguf.h"
#include "worker/exchange/collective.h"
#include "worker/memory/weights.h"
#include "worker/model/adapter_part.h"

namespace barn {

// scale multiplies what the adapter's own alpha and rank say.
struct AdapterScale {
  int64_t id = 0;
  float scale = 1;
};

// The rows of one sequence in a step: tokens at positions first_position onwards. blocks[i] is the KV block of
// positions [i * kv_block_tokens, (i + 1) * kv_block_tokens) and the table reaches at least to the last row.
struct SequenceStep {
  int64_t first_position = 0;
  std::span<const int32_t> tokens;
  std::span<const int32_t> blocks;
  std::span<const AdapterScale> adapters = {};  // That its rows pass through; of each slice's own part.
};

struct StepInput {
  std::span<const SequenceStep> sequences;  // Their rows, one after the other, are the T rows of the step.
  std::span<const float> activations;       // [T, D] from the stage before; empty on the first stage.
  Collective* collective = nullptr;         // Of the slice's ranks; null when there is one.
  WaitBounds wait = {};                     // For the other ranks.
  // On the last slice: rows whose final hidden states, behind the output norm, go to hidden, [hidden_rows, D], and
  // rows of which the classification head's number goes to scores, [score_rows]. With the rows whose logits are wanted
  // at most T in all.
  std::span<const int32_t> hidden_rows = {};
  std::span<float> hidden = {};
  std::span<const int32_t> score_rows = {};
  std::span<float> scores = {};
};

// Receives the logits of rows logit_rows[first] onwards: logits is [n, V], n <= kLogitRowsMax, valid during the call
// and writable (logit edits may happen in place).
inline constexpr int64_t kLogitRowsMax = 16;
using LogitSink = absl::FunctionRef<void(int64_t first, Tensor logits)>;

struct SliceOptions {
  const GgufModel* model = nullptr;  // Header; must outlive Create only.
  WeightSource* weights = nullptr;   // Must outlive the slice.
  Device* device = nullptr;          // Must outlive the slice.
  int64_t first_layer = 0;
  int64_t last_layer = 0;  // One past.
  bool is_first = true;    // Holds the embedding.
  bool is_last = true;     // Holds the output norm and head.
  int64_t kv_blocks = 0;
  int64_t kv_block_tokens = 32;
  KvType kv_type = KvType::kF16;
  int64_t step_tokens_max = 512;  // Rows of the largest step.
  bool borrow_experts = false;    // See MatrixUse::kBorrowed.
  // The routed experts of the last host_expert_layers layers lie on this device and are computed there: the processors'
  // beside a GPU. Must outlive the slice; not with several ranks.
  Device* host_device = nullptr;
  int64_t host_expert_layers = 0;
  int64_t context_tokens = 0;  // Longest sequence; chooses the factors of long-context rope. 0: the model's own.
  // Every product of these layers is shared by `ranks` slices, each with whole heads and some rows of each weight.
  int rank = 0;
  int ranks = 1;
};

// Sees what the router of a layer chose, for tests and traces: k experts for each row, best first, and the logits that
// led there, [rows, E] with the router's bias. On the last layer only the rows whose logits are wanted may come.
// It may put other routes of the same shape in their place, which then run; what they point to outlives the step.
using RouteObserver = std::function<void(int64_t layer, Routes& routes, Tensor router_logits)>;

// A contiguous range of a model's layers, or one rank's share of it, ready to run. Ranks are given the same steps and
// get the same results, with the same bits as one rank alone. One thread at a time.
class Slice {
 public:
  // Unimplemented: the architecture is unknown (by name), or its layers cannot be shared by so many ranks.
  // InvalidArgument: a key or tensor is missing or has the wrong
  // shape (by name). ResourceExhausted: device memory.
  static absl::StatusOr<std::unique_ptr<Slice>> Create(const SliceOptions& options);
  virtual ~Slice() = default;

  // Runs a step of a slice that is not the last; activations_out: f32[T, D].
  // InvalidArgument: a row, position, block or token is out of bounds; nothing was computed then. Otherwise as the
  // collective says.
  virtual absl::Status Forward(const StepInput& step, std::span<float> activations_out) = 0;

  // Runs a step of the last slice and hands the logits of the rows in logit_rows (indices in [0, T), any order, at most
  // T) to sink, in chunks and in order. Only those rows reach the head; none is fine, and then sink is not called.
  // Before that it fills in what the step asks of hidden states and scores. InvalidArgument: logits of an encoder, or
  // scores of a model without a classification head.
  virtual absl::Status ForwardToLogits(const StepInput& step, std::span<const int32_t> logit_rows, LogitSink sink) = 0;

  virtual void ObserveRoutes(RouteObserver observer) = 0;

  // What adapters may add to here, the same for the life of the slice.
  virtual const std::vector<AdapterTarget>& adapter_targets() const = 0;
  // Uploads what ReadAdapterPart has read for adapter_targets(), about bytes_max bytes of it at a time; true when that
  // was the last of it and steps may name the adapter. After an error (ResourceExhausted, Unimplemented: a tensor that
  // no product meets) the adapter is not there. AlreadyExists: it is there already.
  virtual absl::StatusOr<bool> AddAdapter(int64_t id, AdapterPart& part, int64_t bytes_max) = 0;
  // No step names it any more. Unknown ones are ignored.
  virtual void RemoveAdapter(int64_t id) = 0;

  virtual bool is_first() const = 0;
  virtual bool is_last() const = 0;
  virtual int64_t width() const = 0;       // D
  virtual int64_t vocabulary() const = 0;  // V
  virtual int64_t context_tokens() const = 0;
  virtual bool encoder() const = 0;     // Each sequence comes whole, in one step; there are no logits.
  virtual bool has_scores() const = 0;  // On the last slice.
  virtual int64_t kv_bytes() const = 0;
  virtual int64_t scratch_bytes() const = 0;
  virtual int64_t shared_floats_max() const = 0;  // Of what ranks exchange in one call.
};

}  // namespace barn
