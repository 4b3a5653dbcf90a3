// Encoders on a (simulated) GPU.
#include "kernels/cuda/gpu_device.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/worker/model/encoder_model.h"

namespace barn {
namespace {

std::unique_ptr<Device> MakeGpu() {
  auto device = GpuDevice::Create({.memory_bytes = int64_t{48} << 20});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

class GpuEncoder : public testing::TestWithParam<std::string> {};

TEST_P(GpuEncoder, MatchesTheReference) {
  UseSchedule(static_cast<int>(GetParam().size() % 3));
  const EncoderModel model = LoadEncoder(GetParam());
  std::vector<std::vector<int32_t>> all;
  for (const EncoderModel::Case& one : model.cases) all.push_back(one.ids);
  const bool scores = model.cases[0].score != 0;
  const EncoderOutput got = RunEncoder(model, {.make_device = MakeGpu, .scores = scores}, all);
  for (size_t c = 0; c < all.size(); ++c) {
    for (size_t i = 0; i < got.hidden[c].size(); ++i) {
      // As on a CPU (encoder_test), with sums in another order.
      ASSERT_NEAR(got.hidden[c][i], model.cases[c].hidden[i], 4e-5f) << "case " << c << ", number " << i;
    }
    if (scores) {
      EXPECT_NEAR(got.scores[c], model.cases[c].score, 1e-4f) << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuEncoder, testing::ValuesIn(EncoderNames()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace barn
