#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/matvec.h"
#include "tests/kernels/cuda/cuda_test_util.h"

namespace barn {

struct ProductCase {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t tokens = 0;
  bool with_bias = false;
};

// multiply(args, stream) with random weights, activations and biases, to rows with a gap between them, against exact
// arithmetic. additions: see ProductOf.
template <class Multiply>
void ExpectExactProducts(Multiply multiply, const ProductCase& c, int64_t additions) {
  SCOPED_TRACE(std::string(Info(c.dtype).name) + " " + std::to_string(c.rows) + " x " + std::to_string(c.cols) + ", " +
               std::to_string(c.tokens) + " tokens");
  const std::vector<std::byte> bytes = RandomWeights(c.dtype, c.rows, c.cols, 21);
  const UploadedWeight weight(c.dtype, 1, c.rows, c.cols, bytes);
  const QuantizedActivations x(RandomActivations(c.tokens * c.cols, 22), c.tokens, c.cols);
  const std::vector<float> bias_values = RandomActivations(c.rows, 23);
  const DeviceArray<float> bias(bias_values);
  const int64_t stride = c.rows + 3;
  const DeviceArray<float> out(static_cast<size_t>(c.tokens * stride));
  const TestStream stream;
  multiply({.weight = weight.view(),
            .x = x.view(),
            .out = out.data(),
            .out_stride = stride,
            .bias = c.with_bias ? bias.data() : nullptr},
           stream.get());
  stream.Wait();
  const std::vector<float> w = DecodeAll(c.dtype, c.rows, c.cols, bytes);
  const std::vector<double> values = x.Values();
  const std::vector<float> got = out.Values();
  for (int64_t t = 0; t < c.tokens; ++t) {
    for (int64_t r = 0; r < c.rows; ++r) {
      ExactProduct expected = ProductOf(w.data() + r * c.cols, values.data() + t * c.cols, c.cols, additions);
      if (c.with_bias) expected.Add(bias_values[static_cast<size_t>(r)]);
      ASSERT_LE(std::abs(got[static_cast<size_t>(t * stride + r)] - expected.value), expected.tolerance)
          << "token " << t << " row " << r;
    }
    for (int64_t r = c.rows; r < stride; ++r) ASSERT_TRUE(std::isnan(got[static_cast<size_t>(t * stride + r)]));
  }
}

}  // namespace barn
