#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/cuda/gpu_device.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "worker/exchange/nccl_collective.h"
#include "worker/exchange/nccl_port.h"

// What of NCCL one GPU can show: a communicator of one rank comes up without blocking, exchanges lie between the
// device's own work, and an abort ends it. tests/gpu_first_run.sh runs it with the real library, every other test run
// with the stand-in.

namespace barn {
namespace {

std::unique_ptr<GpuDevice> MakeGpu() {
  auto device = GpuDevice::Create({.memory_bytes = int64_t{16} << 20});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

const NcclLibrary& Library(Device& device) {
  const char* set = std::getenv("BARN_NCCL");
  const auto library = LoadNccl(set != nullptr ? set : device.stream().library);
  EXPECT_TRUE(library.ok()) << library.status();
  return **library;
}

WaitBounds Within(absl::Duration limit) { return {.deadline = absl::Now() + limit}; }

std::unique_ptr<NcclCollective> JoinAlone(Device& device) {
  const NcclLibrary& library = Library(device);
  nccl::UniqueId id = {};
  EXPECT_EQ(library.get_unique_id(&id), nccl::kSuccess);
  auto joined = NcclCollective::Join(
      library, device, {.addresses = {"alone"}, .floats_max = 4096, .wait = Within(absl::Seconds(60))}, id);
  EXPECT_TRUE(joined.ok()) << joined.status();
  return *std::move(joined);
}

TEST(NcclOneRank, ExchangesLieBetweenTheDevicesOwnWork) {
  const auto device = MakeGpu();
  const auto alone = JoinAlone(*device);
  const int64_t rows = 5, cols = 70;
  const auto buffer = *device->Allocate(rows * cols);
  const Tensor tensor = {.data = buffer->data(), .rows = rows, .cols = cols, .stride = cols};
  std::vector<float> values(rows * cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  device->CopyFromHost(values, tensor);
  const std::vector<int64_t> bounds = {0, cols};
  for (int call = 0; call < 100; ++call) {  // More than may be on the way at once.
    ASSERT_TRUE(
        alone
            ->AllGather({.data = tensor.data, .rows = call % 2 == 0 ? 1 : rows, .stride = cols, .bounds = bounds},
                        Within(absl::Seconds(60)))
            .ok());
    device->AddScaled(tensor, tensor, 0);
  }
  const absl::Status status = alone->Finish(Within(absl::Seconds(60)));
  ASSERT_TRUE(status.ok()) << status;
  const Tensor host = device->ToHost(tensor);
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(host.data[i], values[i]) << i;
}

TEST(NcclOneRank, AnAbortWithWorkOnTheWayLeavesTheDeviceWhole) {
  const auto device = MakeGpu();
  for (int time = 0; time < 3; ++time) {
    auto alone = JoinAlone(*device);
    const auto buffer = *device->Allocate(64);
    const std::vector<int64_t> bounds = {0, 64};
    for (int call = 0; call < 20; ++call) {
      ASSERT_TRUE(alone
                      ->AllGather({.data = buffer->data(), .rows = 1, .stride = 64, .bounds = bounds},
                                  Within(absl::Seconds(60)))
                      .ok());
    }
    alone.reset();
    const std::vector<float> ones(64, 1.0f);
    const Tensor tensor = {.data = buffer->data(), .rows = 1, .cols = 64, .stride = 64};
    device->CopyFromHost(ones, tensor);
    EXPECT_EQ(device->ToHost(tensor).data[63], 1.0f);
    EXPECT_TRUE(device->status().ok()) << device->status();
  }
}

// NCCL's own answer to two ranks on one GPU.
TEST(NcclOneRank, IsAllThatOneGpuCanBe) {
  const auto device = MakeGpu(), again = MakeGpu();
  const auto first = OpenNcclPort(*device, ""), second = OpenNcclPort(*again, "");
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  const std::vector<std::string> addresses = {(*first)->address(), (*second)->address()};
  absl::Status statuses[2];
  const auto join = [&](RankPort& port, int rank) {
    statuses[rank] =
        port.Join({.rank = rank, .addresses = addresses, .floats_max = 64, .wait = Within(absl::Seconds(60))}).status();
  };
  std::thread other([&] { join(**second, 1); });
  join(**first, 0);
  other.join();
  for (const absl::Status& status : statuses) EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

}  // namespace
}  // namespace barn
