#pragma once

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/kv_code_kernels.h"
#include "kernels/cpu/rope_kernels.h"
#include "kernels/cpu/row_kernels.h"

namespace barn {

template <class Vec>
constexpr FloatKernels MakeFloatKernels() {
  using Row = RowKernels<Vec>;
  using Attend = AttentionKernels<Vec>;
  using Code = KvCodeKernels<Vec>;
  return {.rms_norm = Row::RmsNorm,
          .layer_norm = Row::LayerNorm,
          .rope = RopeKernels<Vec>::Rope,
          .silu_mul = Row::SiluMul,
          .gelu_mul = Row::GeluMul,
          .gelu_erf_mul = Row::GeluErfMul,
          .clamped_swiglu = Row::ClampedSwiglu,
          .gelu = Row::Gelu,
          .gelu_erf = Row::GeluErf,
          .softcap = Row::Softcap,
          .add = Row::Add,
          .add_scaled = Row::AddScaled,
          .scale = Row::Scale,
          .exp = Row::Exp,
          .largest = Row::Largest,
          .exp_sum = Row::ExpSum,
          .half_to_float = Row::HalfToFloats,
          .float_to_half = Row::FloatsToHalf,
          .float_to_q8 = Code::FloatsToQ8,
          .q8_to_float = Code::Q8ToFloats,
          .float_to_q4 = Code::FloatsToQ4,
          .q4_to_float = Code::Q4ToFloats,
          .scores = Attend::Scores,
          .softmax = Attend::Softmax,
          .weighted_sum = Attend::WeightedSum,
          .scores_q8 = Attend::ScoresQ8,
          .weighted_sum_q8 = Attend::WeightedSumQ8,
          .scores_q4 = Attend::ScoresQ4,
          .weighted_sum_q4 = Attend::WeightedSumQ4,
          .merge = Attend::Merge};
}

}  // namespace barn
