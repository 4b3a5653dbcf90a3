#include "tests/worker/exchange/nccl_ranks.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/time/clock.h"

namespace barn {

NcclRanks JoinNcclRanks(std::span<Device* const> devices, int64_t floats_max) {
  NcclRanks group;
  std::vector<std::string> addresses;
  for (Device* device : devices) {
    auto port = OpenNcclPort(*device, "");
    EXPECT_TRUE(port.ok()) << port.status();
    if (!port.ok()) return {};
    addresses.push_back((*port)->address());
    group.ports.push_back(*std::move(port));
  }
  group.ranks.resize(devices.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    threads.emplace_back([&, rank] {
      auto joined = group.ports[rank]->Join({.rank = static_cast<int>(rank),
                                             .addresses = addresses,
                                             .floats_max = floats_max,
                                             .wait = {.deadline = absl::Now() + absl::Seconds(60)}});
      EXPECT_TRUE(joined.ok()) << joined.status();
      if (joined.ok()) group.ranks[rank] = *std::move(joined);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& rank : group.ranks) {
    if (rank == nullptr) return {};
  }
  return group;
}

}  // namespace barn
