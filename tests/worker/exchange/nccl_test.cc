#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/cuda/gpu_device.h"
#include "tests/simt/simt_stream.h"
#include "tests/worker/exchange/nccl_ranks.h"
#include "worker/exchange/nccl_library.h"

// Ranks on simulated GPUs, joined by the stand-in for NCCL (BARN_NCCL; tests/simt/nccl/standin.cc says what
// BARN_SIMT_NCCL makes go wrong).

namespace barn {
namespace {

using testing::HasSubstr;

constexpr int64_t kFloatsMax = 20000;

// One GPU for each rank.
struct Gpus {
  explicit Gpus(int count) {
    simt::SetMachine({.devices = 4});
    for (int i = 0; i < count; ++i) {
      devices.push_back(*GpuDevice::Create({.index = i, .memory_bytes = int64_t{4} << 20}));
      pointers.push_back(devices.back().get());
    }
  }
  std::vector<std::unique_ptr<GpuDevice>> devices;
  std::vector<Device*> pointers;
};

class Faults {
 public:
  explicit Faults(const std::string& words) { setenv("BARN_SIMT_NCCL", words.c_str(), 1); }
  ~Faults() { unsetenv("BARN_SIMT_NCCL"); }
};

void EveryRank(int ranks, const std::function<void(int)>& run) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) threads.emplace_back([&, rank] { run(rank); });
  for (std::thread& thread : threads) thread.join();
}

WaitBounds Within(absl::Duration limit, std::stop_token stop = {}) {
  return {.deadline = absl::Now() + limit, .stop = std::move(stop)};
}

float Value(int call, int64_t row, int64_t column) {
  return static_cast<float>(call * 1000003 + row * 1009 + column % 4096);
}

// One exchange on one rank, with work of the device right before and behind it that nobody waits for.
struct Rows {
  Rows(Device& device, int64_t rows, const std::vector<int64_t>& bounds)
      : bounds(bounds), stride(bounds.back() + 3), buffer(*device.Allocate(2 * rows * stride)) {
    tensor = {.data = buffer->data(), .rows = rows, .cols = stride, .stride = stride};
    copy = {.data = buffer->data() + rows * stride, .rows = rows, .cols = stride, .stride = stride};
  }
  absl::Status Gather(Device& device, Collective& one, int call, const WaitBounds& wait) {
    std::vector<float> values(tensor.rows * stride, -1);
    for (int64_t row = 0; row < tensor.rows; ++row) {
      for (int64_t c = bounds[one.rank()]; c < bounds[one.rank() + 1]; ++c)
        values[row * stride + c] = Value(call, row, c);
    }
    device.CopyFromHost(values, tensor);
    absl::Status status =
        one.AllGather({.data = tensor.data, .rows = tensor.rows, .stride = stride, .bounds = bounds}, wait);
    device.Copy(tensor, copy);
    device.Scale(tensor, 0);
    return status;
  }
  int64_t Wrong(Device& device, int call) const {
    const Tensor host = device.ToHost(copy);
    int64_t wrong = 0;
    for (int64_t row = 0; row < host.rows; ++row) {
      for (int64_t c = 0; c < stride; ++c) {
        wrong += host.row(row)[c] != (c < bounds.back() ? Value(call, row, c) : -1) ? 1 : 0;
      }
    }
    return wrong;
  }

  std::vector<int64_t> bounds;
  int64_t stride;
  std::unique_ptr<Buffer> buffer;
  Tensor tensor, copy;
};

TEST(Nccl, EveryRankGetsEveryColumnInTheOrderOfItsDevice) {
  for (const int ranks : {2, 3, 4}) {
    const Gpus gpus(ranks);
    const NcclRanks group = JoinNcclRanks(gpus.pointers, kFloatsMax);
    ASSERT_FALSE(group.ranks.empty());
    std::mt19937 random(ranks);
    std::vector<std::pair<int64_t, std::vector<int64_t>>> calls;
    for (int call = 0; call < 100; ++call) {
      std::vector<int64_t> bounds = {0};
      const bool even = call % 3 == 0;
      for (int rank = 0; rank < ranks; ++rank) {
        bounds.push_back(bounds.back() + (even ? 8 + call % 5 : 1 + random() % (call % 7 == 0 ? 900 : 40)));
      }
      calls.emplace_back(call % 2 == 0 ? 1 : 1 + random() % 6, bounds);
    }
    EveryRank(ranks, [&](int rank) {
      Device& device = *gpus.pointers[rank];
      Collective& one = *group.ranks[rank];
      EXPECT_EQ(one.rank(), rank);
      EXPECT_EQ(one.ranks(), ranks);
      std::vector<Rows> rows;
      for (size_t call = 0; call < calls.size(); ++call) {
        rows.emplace_back(device, calls[call].first, calls[call].second);
        const absl::Status status = rows.back().Gather(device, one, static_cast<int>(call), Within(absl::Seconds(60)));
        ASSERT_TRUE(status.ok()) << status << " call " << call << " rank " << rank;
      }
      const absl::Status status = one.Finish(Within(absl::Seconds(60)));
      EXPECT_TRUE(status.ok()) << status;
      for (size_t call = 0; call < calls.size(); ++call) {
        EXPECT_EQ(rows[call].Wrong(device, static_cast<int>(call)), 0) << "call " << call << " rank " << rank;
      }
    });
  }
}

// What the device has only written down is started before an exchange stands on its stream, as a graph where it comes
// again, and what comes behind the exchange meets its columns.
TEST(Nccl, GraphsStandBetweenExchanges) {
  constexpr int64_t kColumns = 8, kEach = 10;
  constexpr int kRounds = 12;
  const Gpus gpus(2);
  const NcclRanks group = JoinNcclRanks(gpus.pointers, kFloatsMax);
  ASSERT_FALSE(group.ranks.empty());
  EveryRank(2, [&](int rank) {
    GpuDevice& device = *gpus.devices[rank];
    const auto buffer = *device.Allocate(3 * 2 * kColumns);
    const auto row = [&](int index) {
      return Tensor{
          .data = buffer->data() + index * 2 * kColumns, .rows = 1, .cols = 2 * kColumns, .stride = 2 * kColumns};
    };
    const Tensor x = row(0), sum = row(1), ones = row(2);
    const auto mine = [&](Tensor of) {
      return Tensor{.data = of.data + rank * kColumns, .rows = 1, .cols = kColumns, .stride = of.stride};
    };
    device.CopyFromHost(std::vector<float>(2 * kColumns, 1), ones);
    for (int round = 0; round < kRounds; ++round) {
      for (int64_t i = 0; i < kEach; ++i) device.AddScaled(mine(x), mine(ones), static_cast<float>(rank + 1));
      const std::vector<int64_t> bounds = {0, kColumns, 2 * kColumns};
      const absl::Status status = group.ranks[rank]->AllGather(
          {.data = x.data, .rows = 1, .stride = x.stride, .bounds = bounds}, Within(absl::Seconds(60)));
      ASSERT_TRUE(status.ok()) << status;
      for (int64_t i = 0; i < kEach; ++i) device.Add(sum, x);
    }
    ASSERT_TRUE(group.ranks[rank]->Finish(Within(absl::Seconds(60))).ok());
    const Tensor host = device.ToHost(sum);
    for (int64_t c = 0; c < 2 * kColumns; ++c) {
      // x is 10, 20, 30 ... times the number of the rank, and counts ten times in every round.
      EXPECT_EQ(host.data[c], kEach * kEach * (kRounds * (kRounds + 1) / 2) * (c / kColumns + 1)) << rank << ", " << c;
    }
    EXPECT_GE(device.graph_starts(), kRounds - 3);
  });
}

// More rows than there is room for go in pieces.
TEST(Nccl, ManyRows) {
  const Gpus gpus(2);
  const NcclRanks group = JoinNcclRanks(gpus.pointers, 100);
  ASSERT_FALSE(group.ranks.empty());
  EveryRank(2, [&](int rank) {
    Device& device = *gpus.pointers[rank];
    Rows rows(device, 50, {0, 40, 70});
    ASSERT_TRUE(rows.Gather(device, *group.ranks[rank], 5, Within(absl::Seconds(60))).ok());
    EXPECT_TRUE(group.ranks[rank]->Finish(Within(absl::Seconds(60))).ok());
    EXPECT_EQ(rows.Wrong(device, 5), 0);
    Rows wide(device, 1, {0, 400, 700});
    EXPECT_TRUE(absl::IsInvalidArgument(wide.Gather(device, *group.ranks[rank], 5, Within(absl::Seconds(60)))));
  });
}

// A rank whose GPU hangs after some exchanges: both end, within the bounds of the one that waits and with what it is
// told, and the next communicator serves.
TEST(Nccl, ASilentRankEndsTheExchangesOfBoth) {
  const Gpus gpus(2);
  for (const bool by_stop : {false, true}) {
    SCOPED_TRACE(by_stop);
    const Faults faults(by_stop ? "silent=1:4" : "silent=1:3");
    const NcclRanks group = JoinNcclRanks(gpus.pointers, kFloatsMax);
    ASSERT_FALSE(group.ranks.empty());
    std::stop_source stop;
    std::jthread end([&](const std::stop_token& over) {
      for (int i = 0; i < 20 && !over.stop_requested(); ++i) absl::SleepFor(absl::Milliseconds(20));
      if (by_stop) stop.request_stop();
    });
    EveryRank(2, [&](int rank) {
      Device& device = *gpus.pointers[rank];
      Collective& one = *group.ranks[rank];
      const absl::Duration limit = by_stop ? absl::Seconds(60) : absl::Milliseconds(400);
      Rows rows(device, 2, {0, 8, 16});
      absl::Status status;
      const absl::Time began = absl::Now();
      // So many that the host has to wait for the device.
      for (int call = 0; call < 200 && status.ok(); ++call) {
        status = rows.Gather(device, one, call, Within(limit, stop.get_token()));
      }
      if (status.ok()) status = one.Finish(Within(limit, stop.get_token()));
      EXPECT_EQ(status.code(), by_stop ? absl::StatusCode::kAborted : absl::StatusCode::kDeadlineExceeded) << status;
      EXPECT_LT(absl::Now() - began, absl::Seconds(20));
      EXPECT_EQ(one.Finish({}), status);
      EXPECT_EQ(rows.Gather(device, one, 0, {}), status);
      EXPECT_TRUE(device.status().ok()) << device.status();
    });
  }
  const NcclRanks group = JoinNcclRanks(gpus.pointers, kFloatsMax);
  ASSERT_FALSE(group.ranks.empty());
  EveryRank(2, [&](int rank) {
    Rows rows(*gpus.pointers[rank], 2, {0, 8, 16});
    EXPECT_TRUE(rows.Gather(*gpus.pointers[rank], *group.ranks[rank], 1, Within(absl::Seconds(60))).ok());
    EXPECT_TRUE(group.ranks[rank]->Finish(Within(absl::Seconds(60))).ok());
    EXPECT_EQ(rows.Wrong(*gpus.pointers[rank], 1), 0);
  });
}

// The ports of two ranks and what Join says of each.
struct Joining {
  explicit Joining(const std::vector<Device*>& devices) {
    for (Device* device : devices) ports.push_back(*OpenNcclPort(*device, ""));
  }
  std::vector<absl::Status> Join(const WaitBounds& wait) {
    std::vector<std::string> addresses;
    for (const auto& port : ports) addresses.push_back(port->address());
    std::vector<absl::Status> results(ports.size());
    EveryRank(static_cast<int>(ports.size()), [&](int rank) {
      results[rank] =
          ports[rank]
              ->Join({.rank = rank, .addresses = addresses, .floats_max = 1, .wait = wait, .on_wait = nullptr})
              .status();
    });
    return results;
  }
  std::vector<std::unique_ptr<RankPort>> ports;
};

TEST(Nccl, AnInitThatFailsIsAnErrorAndTheNextHasAnotherId) {
  const Gpus gpus(2);
  Joining joining(gpus.pointers);
  const std::string id = joining.ports[0]->address(), other = joining.ports[1]->address();
  {
    const Faults faults("fail-init=1");
    std::stop_source stop;
    const std::jthread end([&] {
      absl::SleepFor(absl::Milliseconds(300));
      stop.request_stop();  // As when the coordinator hears of rank 1.
    });
    const std::vector<absl::Status> results = joining.Join(Within(absl::Seconds(60), stop.get_token()));
    EXPECT_TRUE(absl::IsAborted(results[0])) << results[0];
    EXPECT_TRUE(absl::IsUnavailable(results[1])) << results[1];
    EXPECT_THAT(results[1].message(), HasSubstr("unhandled cuda error"));
  }
  EXPECT_NE(joining.ports[0]->address(), id);
  EXPECT_EQ(joining.ports[1]->address(), other);  // Nobody has used it.
  for (const absl::Status& result : joining.Join(Within(absl::Seconds(60)))) EXPECT_TRUE(result.ok()) << result;
  EXPECT_TRUE(joining.ports[0]->usable().ok());
}

TEST(Nccl, ARankThatNeverJoinsIsWaitedForWithinBounds) {
  const Gpus gpus(2);
  const Faults faults("hang-init=1");
  Joining joining(gpus.pointers);
  std::stop_source stop;
  stop.request_stop();
  for (int i = 0; i < 5; ++i) {
    for (const absl::Status& result : joining.Join(Within(absl::Seconds(60), stop.get_token()))) {
      EXPECT_TRUE(absl::IsAborted(result)) << result;
    }
  }
  EXPECT_TRUE(joining.ports[0]->usable().ok());  // Plans that ended say nothing of NCCL.
  for (const absl::Status& result : joining.Join(Within(absl::Milliseconds(200)))) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(result)) << result;
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(joining.ports[0]->usable())) << joining.ports[0]->usable();
}

TEST(Nccl, OneGpuIsOneRank) {
  const Gpus gpus(1);
  Joining joining({gpus.pointers[0], gpus.pointers[0]});
  const std::vector<absl::Status> results = joining.Join(Within(absl::Seconds(60)));
  EXPECT_TRUE(absl::IsFailedPrecondition(results[0])) << results[0];
  EXPECT_THAT(results[0].message(), HasSubstr("Duplicate GPU"));
  EXPECT_EQ(joining.ports[0]->usable(), results[0]);
}

TEST(Nccl, RefusesOptionsThatMakeNoSense) {
  const Gpus gpus(1);
  const auto port = *OpenNcclPort(*gpus.pointers[0], "");
  const std::string mine = port->address(), other(mine.size(), 'x');
  EXPECT_EQ(port->transport(), "NCCL 2.28.9");
  const auto error = [&](CollectiveOptions options) { return port->Join(options).status(); };
  EXPECT_TRUE(absl::IsInvalidArgument(error({.rank = 0, .addresses = {mine}, .floats_max = 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(error({.rank = 2, .addresses = {mine, other}, .floats_max = 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(error({.rank = -1, .addresses = {mine, other}, .floats_max = 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(error({.rank = 0, .addresses = {mine, other}, .floats_max = 0})));
  EXPECT_TRUE(absl::IsInvalidArgument(error({.rank = 0, .addresses = {mine, "short"}, .floats_max = 1})));
  const absl::Status stale = error({.rank = 0, .addresses = {other, mine}, .floats_max = 1});
  EXPECT_TRUE(absl::IsUnavailable(stale)) << stale;
  EXPECT_THAT(stale.message(), HasSubstr("no longer has"));
}

TEST(NcclLibrary, SaysWhatIsMissing) {
  const auto error = [](const std::string& name) { return std::string(LoadNccl(name).status().message()); };
  EXPECT_THAT(error("libnccl-of-nobody.so.2"), HasSubstr("libnccl-of-nobody.so.2: cannot open shared object file"));
  EXPECT_THAT(error("libc.so.6"), HasSubstr("libc.so.6 has no nccl"));
  const std::string standin = std::getenv("BARN_NCCL");
  for (const auto& [version, text] : {std::pair("21307", "is version 2.13.7, want 2.14"),
                                      {"2708", "is version 2708"},
                                      {"30001", "is version 3.0.1, want 2.14 or a later 2.x"}}) {
    const Faults faults(absl::StrCat("version=", version));
    const std::string link = absl::StrCat(testing::TempDir(), "/libnccl-", version, ".so");
    std::filesystem::remove(link);
    std::filesystem::create_symlink(standin, link);
    EXPECT_THAT(error(link), HasSubstr(text));
  }
}

TEST(NcclLibrary, SimulatedDevicesHaveNoneUnlessItIsNamed) {
  const Gpus gpus(1);
  const std::string standin = std::getenv("BARN_NCCL");
  unsetenv("BARN_NCCL");
  const absl::Status status = OpenNcclPort(*gpus.pointers[0], "").status();
  setenv("BARN_NCCL", standin.c_str(), 1);
  EXPECT_EQ(status.message(), "NCCL: none for simt:0 simulated, 4 MiB; BARN_NCCL names one");
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenNcclPort(**CreateCpuDevice({.threads = 1, .pin = false}), "").status()));
}

// Where the machine has NCCL's own library, it opens and makes ids; no GPU is asked for these.
TEST(NcclLibrary, TheRealOneMakesIds) {
  const auto library = LoadNccl("libnccl.so.2");
  if (!library.ok()) {
    std::fprintf(stderr, "not checked: %s\n", std::string(library.status().message()).c_str());
    return;
  }
  nccl::UniqueId one = {}, two = {};
  ASSERT_EQ((*library)->get_unique_id(&one), nccl::kSuccess);
  ASSERT_EQ((*library)->get_unique_id(&two), nccl::kSuccess);
  EXPECT_NE(std::string(one.bytes, sizeof(one.bytes)), std::string(two.bytes, sizeof(two.bytes)));
}

}  // namespace
}  // namespace barn
