#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "worker/model/rope_frequencies.h"
#include "worker/model/spec.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// The part of a layer that mixes positions.
class AttentionPart {
 public:
  virtual ~AttentionPart() = default;

  // x: [T, D], normed; out: [T, D], of which this rank's columns are written. Writes the step's keys and values to the
  // layer's cache.
  virtual void Forward(const Step& step, Tensor x, Tensor out) const = 0;
  virtual int64_t scratch_floats_per_row() const = 0;
};

// What both kinds of attention need besides their weights. rope is null where the layer does not rotate.
struct AttentionContext {
  AttentionSpec spec;
  int64_t layer = 0;
  int64_t width = 0;  // D
  float norm_epsilon = 0;
  const RopeTable* rope = nullptr;
  const KvLayer* kv = nullptr;  // Of this rank's heads.
  const RankGroup* ranks = nullptr;
};

// Grouped-query attention, or the latent one where the spec has it.
std::unique_ptr<AttentionPart> MakeAttention(TensorLoader& loader, const AttentionContext& context);

// Rotates elements [offset, offset + rope width) of every head of x in place.
void Rotate(const Step& step, const AttentionContext& context, Tensor x, int64_t heads, int64_t offset);

}  // namespace barn
