#include "kernels/cuda/weight_planes.h"

#include <cmath>
#include <vector>

#include "kernels/cuda/weight_dispatch.h"
#include "tests/kernels/cuda/cuda_test_util.h"
#include "tests/kernels/quant_oracle.h"
#include "tests/simt/simt_test_util.h"

namespace barn {
namespace {

// out[column] = scale * code + min, as a kernel would take it, and the larger of the two parts.
template <class Format>
__global__ void DumpUnits(gpu::RowPlanes row, const void* grid, int units, float* values, float* parts) {
  const int unit = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * Format::kUnits;
  if (unit >= units) return;
  const typename Format::Raw raw = Format::Load(row, static_cast<uint32_t>(unit));
  for (int i = 0; i < Format::kUnits; ++i) {
    gpu::WeightUnit w = {};
    Format::Decode(raw, static_cast<uint32_t>(unit), i, grid, w);
    for (int e = 0; e < 32; ++e) {
      const int half = Format::kSixteens ? e / 16 : 0;
      const float product = w.scale[half] * static_cast<float>(static_cast<int8_t>(w.codes[e / 4] >> (8 * (e % 4))));
      const float min = Format::kHasMin ? w.min[half] : 0.0f;
      gpu::St(values + 32 * (unit + i) + e, product + min);
      gpu::St(parts + 32 * (unit + i) + e, std::max(std::abs(product), std::abs(min)));
    }
  }
}

// Each column of each row against the exact decoding: three roundings of parts that may cancel.
void ExpectDecodes(DType dtype, int64_t rows, int64_t cols, std::span<const std::byte> bytes,
                   const std::vector<float>& expected) {
  const UploadedWeight weight(dtype, 1, rows, cols, bytes);
  const gpu::PlaneLayout& layout = *gpu::FindPlaneLayout(dtype);
  const DeviceArray<float> values(static_cast<size_t>(cols)), parts(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    gpu::RowPlanes row = {};
    for (int i = 0; i < layout.count; ++i) {
      row.plane[i] =
          reinterpret_cast<const uint8_t*>(weight.view().planes[i]) + r * gpu::PlaneRowBytes(layout, i, cols);
    }
    gpu::DispatchFormat(dtype, [&](auto format) {
      RunKernel(DumpUnits<decltype(format)>, static_cast<uint32_t>((cols / 32 + 31) / 32), 32, 0, row,
                weight.view().grid, static_cast<int>(cols / 32), values.data(), parts.data());
    });
    const std::vector<float> got = values.Values();
    const std::vector<float> magnitude = parts.Values();
    for (int64_t k = 0; k < cols; ++k) {
      const auto i = static_cast<size_t>(k);
      ASSERT_LE(std::abs(got[i] - expected[static_cast<size_t>(r * cols + k)]), 4 * 0x1p-24f * magnitude[i])
          << Info(dtype).name << " row " << r << " column " << k;
    }
  }
}

TEST(WeightPlanes, DecodeToWhatTheReferenceSays) {
  const QuantOracle oracle;
  int tensors = 0;
  for (const DType dtype : kInt8Types) {
    for (const char* suffix : {"", ".imatrix"}) {
      const std::string name = std::string(Info(dtype).name) + suffix;
      const auto it = oracle.tensors().find(name);
      if (it == oracle.tensors().end()) continue;
      ExpectDecodes(dtype, 8, 512, it->second.bytes, oracle.Floats(name + ".dequant"));
      ++tensors;
    }
  }
  EXPECT_GE(tensors, 30);
}

TEST(WeightPlanes, EveryBitOfABlockArrives) {
  for (const DType dtype : kInt8Types) {
    const int64_t cols = 3 * std::max<int64_t>(256, Info(dtype).block_elements);
    const std::vector<std::byte> bytes = RandomWeights(dtype, 5, cols, 11);
    ExpectDecodes(dtype, 5, cols, bytes, DecodeAll(dtype, 5, cols, bytes));
  }
}

TEST(WeightPlanes, TakeNoMoreBytesThanTheFile) {
  for (const DType dtype : kInt8Types) {
    const gpu::PlaneLayout& layout = *gpu::FindPlaneLayout(dtype);
    int64_t bytes = 0;
    for (int i = 0; i < layout.count; ++i) bytes += gpu::PlaneRowBytes(layout, i, 512);
    EXPECT_EQ(bytes, RowBytes(dtype, 512)) << Info(dtype).name;
  }
}

TEST(WeightPlanes, LieAtWideBoundaries) {
  const gpu::PlaneOffsets placed = gpu::PlacePlanes(*gpu::FindPlaneLayout(DType::kQ6_K), 3, 256);
  EXPECT_EQ(placed.offset[0], 0);
  EXPECT_EQ(placed.offset[1], 512);  // 3 * 128 bytes, rounded up.
  EXPECT_EQ(placed.offset[2], 768);
  EXPECT_EQ(placed.offset[3], 1024);
  EXPECT_EQ(placed.bytes, 1280);
  EXPECT_EQ(gpu::FindPlaneLayout(DType::kTQ1_0), nullptr);
}

}  // namespace
}  // namespace barn
