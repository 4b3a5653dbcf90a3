#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 256;

// y / (1 + e^-x). Far below zero the exponential overflows, and the result is 0.
__device__ __forceinline__ float TimesSigmoid(float y, float x) { return y / (1.0f + expf(-x)); }

// (1 + tanh u) / 2 is the sigmoid of 2u; u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float GeluOf(float x) {
  return TimesSigmoid(x, 1.5957691216057308f * fmaf(0.044715f * x * x, x, x));
}

// x Phi(x), as erfc, which keeps its digits far left.
__device__ __forceinline__ float GeluErfOf(float x) { return 0.5f * x * erfcf(x * -0.70710678f); }

// Comparisons rather than fminf, which would make a number of a NaN.
__device__ __forceinline__ float AtMost(float x, float most) { return x > most ? most : x; }
__device__ __forceinline__ float AtLeast(float x, float least) { return x < least ? least : x; }

// operation(x, y, scale of the row).
struct AddOf {
  __device__ float operator()(float x, float y, float) const { return x + y; }
};
struct AddScaledOf {
  float scale;
  __device__ float operator()(float x, float y, float) const { return fmaf(scale, y, x); }
};
struct ScaleOf {
  float scale;
  __device__ float operator()(float x, float, float) const { return x * scale; }
};
struct ScaleRowOf {
  __device__ float operator()(float x, float, float scale) const { return x * scale; }
};
struct SoftcapOf {
  float cap;
  __device__ float operator()(float x, float, float) const { return cap * tanhf(x / cap); }
};
struct GeluAlone {
  __device__ float operator()(float x, float, float) const { return GeluOf(x); }
};
struct GeluErfAlone {
  __device__ float operator()(float x, float, float) const { return GeluErfOf(x); }
};
struct CopyOf {
  __device__ float operator()(float, float y, float) const { return y; }
};
struct SiluGate {
  __device__ float operator()(float x, float up, float) const { return TimesSigmoid(x, x) * up; }
};
struct GeluGate {
  __device__ float operator()(float x, float up, float) const { return GeluOf(x) * up; }
};
struct GeluErfGate {
  __device__ float operator()(float x, float up, float) const { return GeluErfOf(x) * up; }
};
struct ClampedGate {
  __device__ float operator()(float x, float up, float) const {
    x = AtMost(x, 7.0f);
    up = AtLeast(AtMost(up, 7.0f), -7.0f);
    return TimesSigmoid(x, 1.702f * x) * (up + 1.0f);
  }
};

// A thread takes four columns. y.data or scales may be null: zeros, ones.
template <class Operation>
__global__ void __launch_bounds__(kThreads) MapKernel(Operation operation, Rows x, Rows y, const float* scales,
                                                      uint64_t fours, uint32_t fours_per_row, bool wide) {
  const uint64_t four = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (four >= fours) return;
  const uint64_t row = four / fours_per_row;
  const auto c = static_cast<uint32_t>(four - row * fours_per_row) * 4;
  const auto cols = static_cast<uint32_t>(x.cols);
  float* x_row = x.data + static_cast<int64_t>(row) * x.stride;
  Four values = LoadFour(x_row, c, cols, wide);
  Four others = {{0, 0, 0, 0}};
  if (y.data != nullptr) others = LoadFour(y.data + static_cast<int64_t>(row) * y.stride, c, cols, wide);
  const float scale = scales == nullptr ? 1.0f : Ld(scales + row);
  BARN_UNROLL for (int i = 0; i < 4; ++i) values.v[i] = operation(values.v[i], others.v[i], scale);
  StoreFour(x_row, c, cols, wide, values);
}

template <class Operation>
void Map(Operation operation, Rows x, Rows y, const float* scales, Stream stream) {
  const auto fours_per_row = static_cast<uint32_t>((x.cols + 3) / 4);
  const uint64_t fours = static_cast<uint64_t>(x.rows) * fours_per_row;
  if (fours == 0) return;
  const bool wide = IsWide(x) && (y.data == nullptr || IsWide(y));
  Launch(MapKernel<Operation>, dim3(static_cast<uint32_t>((fours + kThreads - 1) / kThreads)), dim3(kThreads), 0,
         stream, operation, x, y, scales, fours, fours_per_row, wide);
}

}  // namespace

void Add(Rows x, Rows y, Stream stream) { Map(AddOf{}, x, y, nullptr, stream); }
void AddScaled(Rows x, Rows y, float scale, Stream stream) { Map(AddScaledOf{scale}, x, y, nullptr, stream); }
void Scale(Rows x, float scale, Stream stream) { Map(ScaleOf{scale}, x, {}, nullptr, stream); }
void ScaleRows(Rows x, const float* scales, Stream stream) { Map(ScaleRowOf{}, x, {}, scales, stream); }
void Softcap(Rows x, float cap, Stream stream) { Map(SoftcapOf{cap}, x, {}, nullptr, stream); }
void Gelu(Rows x, Stream stream) { Map(GeluAlone{}, x, {}, nullptr, stream); }
void GeluErf(Rows x, Stream stream) { Map(GeluErfAlone{}, x, {}, nullptr, stream); }
void CopyRows(Rows x, Rows out, Stream stream) { Map(CopyOf{}, out, x, nullptr, stream); }

void GatedActivation(Gate gate, Rows x, Rows up, Stream stream) {
  switch (gate) {
    case Gate::kSilu:
      return Map(SiluGate{}, x, up, nullptr, stream);
    case Gate::kGeluTanh:
      return Map(GeluGate{}, x, up, nullptr, stream);
    case Gate::kGeluErf:
      return Map(GeluErfGate{}, x, up, nullptr, stream);
    case Gate::kClampedSwiglu:
      return Map(ClampedGate{}, x, up, nullptr, stream);
  }
}

}  // namespace barn::gpu
