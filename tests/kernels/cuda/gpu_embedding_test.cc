#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/embedding.h"
#include "tests/kernels/cuda/cuda_test_util.h"
#include "tests/kernels/cuda/rows_test_util.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

void ExpectRows(DType dtype, int64_t cols) {
  SCOPED_TRACE(std::string(Info(dtype).name) + " " + std::to_string(cols) + " columns");
  constexpr int64_t kRows = 5;
  const std::vector<std::byte> bytes = RandomWeights(dtype, kRows, cols, 3);
  const UploadedWeight table(dtype, 1, kRows, cols, bytes);
  const std::vector<float> rows = DecodeAll(dtype, kRows, cols, bytes);
  const std::vector<int32_t> ids = {4, 0, 4, 2};
  const DeviceArray<int32_t> on_ids(ids);
  const PlacedRows out(std::vector<float>(ids.size() * static_cast<size_t>(cols), NAN), 4, cols, {.gap = 3});
  const TestStream stream;
  gpu::EmbedRows(table.view(), on_ids.data(), out.view(), stream.get());
  stream.Wait();
  const std::vector<float> got = out.Values();
  for (size_t t = 0; t < ids.size(); ++t) {
    const float* want = rows.data() + ids[t] * cols;
    for (int64_t c = 0; c < cols; ++c) {
      // Three roundings of parts that are at most thrice the largest weight; numbers stay what they are.
      const int64_t first = c / 256 * 256;  // So many columns share their scales.
      const double largest = LargestOf(want, first, std::min(first + 256, cols));
      const double tolerance = Info(dtype).block_elements == 1 ? 0 : 4 * 3 * 0x1p-24 * largest;
      ASSERT_LE(std::abs(got[t * static_cast<size_t>(cols) + static_cast<size_t>(c)] - double{want[c]}), tolerance)
          << "row " << t << " column " << c;
    }
  }
}

TEST_P(OnGpu, EmbeddingRowsOfEveryFormat) {
  for (const DType dtype : kInt8Types) {
    const int64_t block = Info(dtype).block_elements;
    for (const int64_t blocks : {1, 3, 130}) {
      if (blocks * block <= 5000) ExpectRows(dtype, blocks * block);
    }
  }
  for (const DType dtype : kPlainTypes) {
    for (const int64_t cols : {1, 7, 300}) ExpectRows(dtype, cols);
  }
}

TEST_P(OnGpu, IdsBeyondTheTableReadItsFirstRow) {
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ8_0, 2, 32, 3);
  const UploadedWeight table(DType::kQ8_0, 1, 2, 32, bytes);
  const DeviceArray<int32_t> ids(std::vector<int32_t>{2, -1, 0});
  const PlacedRows out(std::vector<float>(96, NAN), 3, 32, {});
  const TestStream stream;
  gpu::EmbedRows(table.view(), ids.data(), out.view(), stream.get());
  stream.Wait();
  const std::vector<float> got = out.Values();
  EXPECT_TRUE(std::equal(got.begin(), got.begin() + 32, got.begin() + 64));
  EXPECT_TRUE(std::equal(got.begin() + 32, got.begin() + 64, got.begin() + 64));
}

}  // namespace
}  // namespace barn
