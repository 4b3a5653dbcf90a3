#pragma once

#include <cstdint>

namespace barn {

enum class Isa;  // kernels/cpu/isa.h, which the files of one instruction set may not include.

// One row of a rotary embedding: see RopeArgs. x is the row of a token.
struct RopeRow {
  float* x;
  int64_t heads;
  int64_t head_width;
  int64_t offset;
  int64_t width;
  bool neighbours;  // RopePairs::kNeighbours
  int32_t position;
  const float* inverse_frequencies;
  float magnitude;
};

// Rows of Q8_0 or Q4_0 keys or values where the cache has them: a pointer to the codes of each and one to its scales.
struct KvRowPointers {
  const void* const* rows;
  const uint16_t* const* scales;
};

// The f32 loops of one instruction set. They take pointers and sizes; any alignment; n >= 0.
// Elementwise functions give an element the same bits wherever it stands in the row.
struct FloatKernels {
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, int64_t n);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* out, int64_t n);
  void (*rope)(const RopeRow& row);

  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*gelu_mul)(float* gate, const float* up, int64_t n);
  void (*gelu_erf_mul)(float* gate, const float* up, int64_t n);
  void (*clamped_swiglu)(float* gate, const float* up, int64_t n);
  void (*gelu)(float* x, int64_t n);
  void (*gelu_erf)(float* x, int64_t n);
  void (*softcap)(float* x, float cap, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);
  void (*add_scaled)(float* x, const float* y, float scale, int64_t n);
  void (*scale)(float* x, float scale, int64_t n);
  void (*exp)(float* x, int64_t n);

  // Of the entries that are not NaN; -infinity when there is none.
  float (*largest)(const float* x, int64_t n);
  // Sum of e^(x[i] - shift), shift >= x[i]; NaN adds nothing.
  float (*exp_sum)(const float* x, float shift, int64_t n);

  void (*half_to_float)(const uint16_t* x, float* out, int64_t n);
  void (*float_to_half)(const float* x, uint16_t* out, int64_t n);  // Saturates at +-65504.

  // Q8_0 in planes: value i is scales[i / 32] (f16) * codes[i], which f32 holds exactly. The same codes and scales on
  // every instruction set. A NaN makes its 32 values NaN; values beyond 127 * 65504 become that.
  void (*float_to_q8)(const float* x, int8_t* codes, uint16_t* scales, int64_t n);
  void (*q8_to_float)(const int8_t* codes, const uint16_t* scales, float* out, int64_t n);
  // Q4_0 in planes, 16 bytes of codes for 32 values: value i is scales[i / 32] * (code - 8), the code of value i of a
  // block being the low half of byte i, of value i + 16 the high half. As in GGUF the scale is the value of largest
  // magnitude / -8 (of +-m the negative one), so that value has code 0; here it is rounded to f16 first, as for Q8_0,
  // and all values behind n of a block are stored as 0. NaN as above; values beyond 8 * 65504 become that.
  void (*float_to_q4)(const float* x, uint8_t* codes, uint16_t* scales, int64_t n);
  void (*q4_to_float)(const uint8_t* codes, const uint16_t* scales, float* out, int64_t n);

  // out[i * out_stride + j] = q[i] . k[j] for i < m, j < n. q: [m, width], k: [n, width]; n % 8 == 0, width % 16 == 0.
  void (*scores)(const float* q, int64_t m, const float* k, int64_t n, int64_t width, float* out, int64_t out_stride);
  // s[j] = e^(s[j] - max) for j in [begin, end), where s is capped first when softcap > 0. Also writes zeros from
  // begin rounded down to 16 and up to end rounded up to 16. begin < end. Gives the maximum and the sum.
  void (*softmax)(float* s, int64_t begin, int64_t end, float softcap, float* max, float* sum);
  // acc[i] += sum_j p[i * p_stride + j] * v[j], in ascending j, for i < m, j < n. v: [n, width]; width % 16 == 0.
  void (*weighted_sum)(const float* p, int64_t p_stride, int64_t m, const float* v, int64_t n, int64_t width,
                       float* acc);
  // The same from Q8_0, width % 32 == 0, with the bits that q8_to_float before it would give.
  void (*scores_q8)(const float* q, int64_t m, const KvRowPointers& k, int64_t n, int64_t width, float* out,
                    int64_t out_stride);
  void (*weighted_sum_q8)(const float* p, int64_t p_stride, int64_t m, const KvRowPointers& v, int64_t n, int64_t width,
                          float* acc);
  // And from Q4_0, with the bits of q4_to_float.
  void (*scores_q4)(const float* q, int64_t m, const KvRowPointers& k, int64_t n, int64_t width, float* out,
                    int64_t out_stride);
  void (*weighted_sum_q4)(const float* p, int64_t p_stride, int64_t m, const KvRowPointers& v, int64_t n, int64_t width,
                          float* acc);
  // acc = acc * acc_scale + part * part_scale
  void (*merge)(float* acc, float acc_scale, const float* part, float part_scale, int64_t n);
};

const FloatKernels& FloatKernelsFor(Isa isa);

}  // namespace barn
