#include "kernels/cuda/rope.h"

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kWarps = 4;

struct Rotation {
  float cosine;
  float sine;
};

// angle = n pi / 2 + r with |r| <= pi / 4; pi / 2 in two parts, the first of 33 bits, so that n times it is exact.
__device__ __forceinline__ Rotation RotationBy(int32_t position, float frequency, float magnitude) {
  const double angle = static_cast<double>(position) * static_cast<double>(frequency);
  const double n = floor(angle * 0x1.45f306dc9c883p-1 + 0.5);
  const float r = static_cast<float>((angle - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34);
  const int quadrant = static_cast<int>(n - 4.0 * floor(n * 0.25));
  const float s = sinf(r);
  const float c = cosf(r);
  const float sine = quadrant % 2 != 0 ? c : s;
  const float cosine = quadrant % 2 != 0 ? s : c;
  return {(quadrant == 1 || quadrant == 2 ? -cosine : cosine) * magnitude, (quadrant >= 2 ? -sine : sine) * magnitude};
}

// A warp takes a head of a row.
__global__ void __launch_bounds__(kWarps * 32) RopeKernel(RopeArgs a) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t head = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const uint64_t row = head / static_cast<uint64_t>(a.heads);
  const bool inside = row < static_cast<uint64_t>(a.x.rows);
  const auto width = static_cast<uint32_t>(a.head_width);
  float* x = a.x.data + (inside ? static_cast<int64_t>(row) : 0) * a.x.stride +
             static_cast<int64_t>(inside ? head - row * static_cast<uint64_t>(a.heads) : 0) * a.head_width;
  float scale = 1;
  if (a.weight != nullptr || a.unit_norm) {
    float squares = 0;
    for (uint32_t c = lane; c < width; c += 32) {
      const float value = LdStream(x + c);
      squares = fmaf(value, value, squares);
    }
    scale = 1.0f / sqrtf(WarpSum(squares) / static_cast<float>(width) + a.epsilon);
  }
  if (!inside) return;
  const auto normed = [&](uint32_t c) {
    const float value = LdStream(x + c) * scale;
    return a.weight == nullptr ? value : value * Ld(a.weight + c);
  };
  const auto begin = static_cast<uint32_t>(a.offset);
  const auto pairs = static_cast<uint32_t>(a.width / 2);
  const int32_t position = Ld(a.positions + row);
  for (uint32_t i = lane; i < pairs; i += 32) {
    const Rotation rotation = RotationBy(position, Ld(a.inverse_frequencies + i), a.magnitude);
    const uint32_t low = begin + (a.neighbours ? 2 * i : i);
    const uint32_t high = a.neighbours ? low + 1 : low + pairs;
    const float first = normed(low);
    const float second = normed(high);
    St(x + low, first * rotation.cosine - second * rotation.sine);
    St(x + high, first * rotation.sine + second * rotation.cosine);
  }
  if (a.weight == nullptr && !a.unit_norm) return;
  for (uint32_t c = lane; c < width; c += 32) {
    if (c < begin || c >= begin + 2 * pairs) St(x + c, normed(c));
  }
}

}  // namespace

void Rope(const RopeArgs& args, Stream stream) {
  const int64_t heads = args.x.rows * args.heads;
  if (heads == 0) return;
  Launch(RopeKernel, dim3(static_cast<uint32_t>((heads + kWarps - 1) / kWarps)), dim3(kWarps * 32), 0, stream, args);
}

}  // namespace barn::gpu
