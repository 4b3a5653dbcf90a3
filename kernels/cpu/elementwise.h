#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Rows [row_begin, row_end) of the operations of Device with the same name. x and y have the same shape.
// A dense tensor of few rows may be viewed as [n, rows * cols / n] to spread it over threads, where that divides and
// cols / n is a multiple of 16: then the bits stay the same.

// gate = act(gate) * up. kSilu: g / (1 + e^-g). kGeluTanh: g / 2 (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))).
// kGeluErf: see Activation. kClampedSwiglu: g = min(gate, 7), u = clamp(up, -7, 7); g / (1 + e^(-1.702 g)) * (u + 1).
void GatedActivationRows(Isa isa, Activation activation, Tensor gate, Tensor up, int64_t row_begin, int64_t row_end);
void GeluRows(Isa isa, Activation form, Tensor x, int64_t row_begin, int64_t row_end);
void AddRows(Isa isa, Tensor x, Tensor y, int64_t row_begin, int64_t row_end);
void AddScaledRows(Isa isa, Tensor x, Tensor y, float scale, int64_t row_begin, int64_t row_end);
// x[t] *= scale.
void ScaleAllRows(Isa isa, Tensor x, float scale, int64_t row_begin, int64_t row_end);
// x[t] *= scales[t]; scales: [x.rows].
void ScaleEachRow(Isa isa, Tensor x, std::span<const float> scales, int64_t row_begin, int64_t row_end);
// x = cap * tanh(x / cap); cap > 0.
void SoftcapRows(Isa isa, Tensor x, float cap, int64_t row_begin, int64_t row_end);

}  // namespace barn
