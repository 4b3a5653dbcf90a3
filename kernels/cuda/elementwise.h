#pragma once

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

// Loops over rows of activations; x and y have the same rows and cols. They compute what kernels/device.h says of the
// operation with the same name. A NaN stays one.
namespace barn::gpu {

void Add(Rows x, Rows y, Stream stream);                     // x += y
void AddScaled(Rows x, Rows y, float scale, Stream stream);  // x += scale * y
void Scale(Rows x, float scale, Stream stream);              // x *= scale
void ScaleRows(Rows x, const float* scales, Stream stream);  // x[t] *= scales[t]; scales: f32[rows], on the device
void Softcap(Rows x, float cap, Stream stream);              // x = cap * tanh(x / cap)
void Gelu(Rows x, Stream stream);                            // tanh form, in place
void GeluErf(Rows x, Stream stream);                         // exact form, in place
void CopyRows(Rows x, Rows out, Stream stream);              // out = x, no overlap

enum class Gate { kSilu, kGeluTanh, kGeluErf, kClampedSwiglu };
void GatedActivation(Gate gate, Rows x, Rows up, Stream stream);  // x = act(x) * up

}  // namespace barn::gpu
