#include "worker/exchange/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "worker/exchange/in_process_collective.h"
#include "worker/exchange/ucx_port.h"

namespace barn {
namespace {

using testing::HasSubstr;

constexpr int64_t kFloatsMax = 200000;

// Ranks of one kind, with whatever they need to live.
struct Group {
  std::vector<std::unique_ptr<UcxPort>> ports;
  std::vector<std::unique_ptr<Collective>> ranks;
};

std::vector<std::string> Addresses(const Group& group) {
  std::vector<std::string> addresses;
  for (const auto& port : group.ports) {
    addresses.push_back(port->address());
  }
  return addresses;
}

Group UcxGroup(int ranks) {
  Group group;
  for (int rank = 0; rank < ranks; ++rank) {
    auto port = UcxPort::Open();
    EXPECT_TRUE(port.ok()) << port.status();
    group.ports.push_back(*std::move(port));
  }
  for (int rank = 0; rank < ranks; ++rank) {
    auto joined = group.ports[rank]->Join(
        {.epoch = 7, .token = "secret", .rank = rank, .addresses = Addresses(group), .floats_max = kFloatsMax});
    EXPECT_TRUE(joined.ok()) << joined.status();
    group.ranks.push_back(*std::move(joined));
  }
  return group;
}

Group InProcessGroup(int ranks) { return {.ports = {}, .ranks = MakeInProcessCollectives(ranks)}; }

struct Kind {
  std::string name;
  std::function<Group(int)> make;
};

class CollectiveTest : public testing::TestWithParam<Kind> {};

void EveryRank(Group& group, const std::function<void(int, Collective&)>& run) {
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < group.ranks.size(); ++rank) {
    threads.emplace_back([&, rank] { run(static_cast<int>(rank), *group.ranks[rank]); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

float Value(int call, int64_t row, int64_t column) {
  return static_cast<float>(call * 1000003 + row * 1009 + column % 4096);
}

// Runs one call on one rank and counts wrong values; columns beyond the bounds must stay as they were.
int64_t WrongAfter(Collective& one, int call, int64_t rows, const std::vector<int64_t>& bounds, absl::Status* status) {
  const int64_t stride = bounds.back() + 3;
  std::vector<float> data(rows * stride, -1);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = bounds[one.rank()]; c < bounds[one.rank() + 1]; ++c) {
      data[row * stride + c] = Value(call, row, c);
    }
  }
  *status = one.AllGather({.data = data.data(), .rows = rows, .stride = stride, .bounds = bounds},
                          {.deadline = absl::Now() + absl::Seconds(60)});
  int64_t wrong = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < stride; ++c) {
      wrong += data[row * stride + c] != (c < bounds.back() ? Value(call, row, c) : -1) ? 1 : 0;
    }
  }
  return wrong;
}

TEST_P(CollectiveTest, EveryRankGetsEveryColumn) {
  for (const int ranks : {2, 3, 4}) {
    Group group = GetParam().make(ranks);
    std::mt19937 random(ranks);
    std::vector<std::pair<int64_t, std::vector<int64_t>>> calls;
    for (int call = 0; call < 60; ++call) {
      std::vector<int64_t> bounds = {0};
      for (int rank = 0; rank < ranks; ++rank) {
        bounds.push_back(bounds.back() + 1 + random() % (call % 7 == 0 ? 3000 : 40));
      }
      const int64_t rows = 1 + static_cast<int64_t>(random() % (kFloatsMax / bounds.back() > 40 ? 40 : 12));
      calls.emplace_back(rows, bounds);
    }
    EveryRank(group, [&](int rank, Collective& one) {
      EXPECT_EQ(one.rank(), rank);
      EXPECT_EQ(one.ranks(), ranks);
      for (size_t call = 0; call < calls.size(); ++call) {
        absl::Status status;
        EXPECT_EQ(WrongAfter(one, static_cast<int>(call), calls[call].first, calls[call].second, &status), 0);
        ASSERT_TRUE(status.ok()) << status << " call " << call << " rank " << rank;
      }
    });
  }
}

// What one rank says while the other does nothing.
absl::Status Alone(Collective& one, const WaitBounds& wait) {
  const std::vector<int64_t> bounds = {0, 8, 16};
  std::vector<float> data(16);
  return one.AllGather({.data = data.data(), .rows = 1, .stride = 16, .bounds = bounds}, wait);
}

TEST_P(CollectiveTest, WaitsAreBoundedAndErrorsStay) {
  Group group = GetParam().make(2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Alone(*group.ranks[0], {.deadline = absl::Now() + absl::Milliseconds(50)})));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Alone(*group.ranks[0], {})));
}

TEST_P(CollectiveTest, StopsWhenAsked) {
  Group group = GetParam().make(2);
  std::stop_source stop;
  std::thread later([&] {
    absl::SleepFor(absl::Milliseconds(50));
    stop.request_stop();
  });
  EXPECT_TRUE(absl::IsAborted(Alone(*group.ranks[0], {.stop = stop.get_token()})));
  later.join();
}

TEST_P(CollectiveTest, ARankThatLeavesEndsTheWait) {
  Group group = GetParam().make(2);
  std::thread later([&] {
    absl::SleepFor(absl::Milliseconds(50));
    group.ranks[1].reset();
    if (!group.ports.empty()) {
      group.ports[1].reset();
    }
  });
  EXPECT_TRUE(absl::IsUnavailable(Alone(*group.ranks[0], {.deadline = absl::Now() + absl::Seconds(20)})));
  later.join();
}

TEST_P(CollectiveTest, OtherSizesAreDataLoss) {
  Group group = GetParam().make(2);
  std::vector<absl::Status> statuses(2);
  EveryRank(group, [&](int rank, Collective& one) {
    WrongAfter(one, 0, 2 + rank, {0, 8, 16}, &statuses[rank]);
    group.ranks[rank].reset();
  });
  EXPECT_TRUE(absl::IsDataLoss(statuses[0]) || absl::IsDataLoss(statuses[1])) << statuses[0] << " " << statuses[1];
  EXPECT_FALSE(statuses[0].ok() && statuses[1].ok());
}

INSTANTIATE_TEST_SUITE_P(Kinds, CollectiveTest,
                         testing::Values(Kind{"InProcess", InProcessGroup}, Kind{"Ucx", UcxGroup}),
                         [](const auto& info) { return info.param.name; });

TEST(UcxPort, RefusesOptionsThatMakeNoSense) {
  const auto port = *UcxPort::Open();
  const auto other = *UcxPort::Open();
  const CollectiveOptions good = {
      .epoch = 1, .token = "t", .rank = 0, .addresses = {port->address(), other->address()}, .floats_max = 10};
  const auto code = [&](const std::function<void(CollectiveOptions&)>& spoil) {
    CollectiveOptions options = good;
    spoil(options);
    return port->Join(options).status().code();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](auto&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(code([](auto& o) { o.rank = 2; }), invalid);
  EXPECT_EQ(code([](auto& o) { o.token = ""; }), invalid);
  EXPECT_EQ(code([](auto& o) { o.token = std::string(65, 'x'); }), invalid);
  EXPECT_EQ(code([](auto& o) { o.addresses.pop_back(); }), invalid);
  EXPECT_EQ(code([](auto& o) { o.floats_max = 0; }), invalid);
  EXPECT_EQ(code([](auto& o) { o.addresses[1] = "xy"; }), invalid);
  EXPECT_EQ(code([](auto& o) { o.addresses[1] = std::string(kUcxAddressBytesMax + 1, 'x'); }), invalid);
  EXPECT_EQ(code([](auto& o) { o.rank = 1; }), absl::StatusCode::kUnavailable);  // Another port's address.
}

// A peer without the secret, or of another epoch, is as good as silent.
TEST(UcxPort, MessagesWithoutTheSecretAreIgnored) {
  for (const auto& [token, epoch] : {std::pair{"wrong!", int64_t{7}}, std::pair{"secret", int64_t{8}}}) {
    Group group;
    group.ports.push_back(*UcxPort::Open());
    group.ports.push_back(*UcxPort::Open());
    for (int rank = 0; rank < 2; ++rank) {
      group.ranks.push_back(*group.ports[rank]->Join({.epoch = rank == 0 ? 7 : epoch,
                                                      .token = rank == 0 ? "secret" : token,
                                                      .rank = rank,
                                                      .addresses = Addresses(group),
                                                      .floats_max = kFloatsMax}));
    }
    EveryRank(group, [&](int, Collective& one) {
      EXPECT_TRUE(absl::IsDeadlineExceeded(Alone(one, {.deadline = absl::Now() + absl::Milliseconds(100)})));
    });
  }
}

// The same two ports serve epoch after epoch, also after a failure.
TEST(UcxPort, ServesManyEpochs) {
  Group group = UcxGroup(2);
  for (int64_t epoch = 8; epoch < 12; ++epoch) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(Alone(*group.ranks[0], {.deadline = absl::Now() + absl::Milliseconds(20)})));
    const std::vector<std::string> addresses = Addresses(group);
    group.ranks.clear();
    for (int rank = 0; rank < 2; ++rank) {
      group.ranks.push_back(*group.ports[rank]->Join(
          {.epoch = epoch, .token = "secret", .rank = rank, .addresses = addresses, .floats_max = kFloatsMax}));
    }
    EveryRank(group, [&](int, Collective& one) {
      absl::Status status;
      EXPECT_EQ(WrongAfter(one, static_cast<int>(epoch), 3, {0, 2500, 5000}, &status), 0);
      EXPECT_TRUE(status.ok()) << status;
    });
  }
}

// A rank in another process that dies by a signal, in mid-call or before.
TEST(UcxPort, ADeadProcessEndsTheWait) {
  int to_child[2], to_parent[2];
  ASSERT_EQ(pipe(to_child) + pipe(to_parent), 0);
  const auto say = [](int file, const std::string& text) {
    return write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  };
  const auto hear = [](int file, size_t bytes) {
    std::string text(bytes, '\0');
    for (size_t done = 0; done < bytes;) {
      const ssize_t got = read(file, text.data() + done, bytes - done);
      if (got <= 0) return std::string();
      done += static_cast<size_t>(got);
    }
    return text;
  };
  const pid_t child = fork();
  if (child == 0) {
    const auto port = *UcxPort::Open();
    say(to_parent[1], port->address());
    const std::string parent = hear(to_child[0], port->address().size());
    const auto rank = *port->Join(
        {.epoch = 7, .token = "secret", .rank = 1, .addresses = {parent, port->address()}, .floats_max = kFloatsMax});
    absl::Status status;
    const int64_t wrong = WrongAfter(*rank, 0, 5, {0, 3000, 7000}, &status);
    say(to_parent[1], wrong == 0 && status.ok() ? "y" : "n");
    pause();
    _exit(0);
  }
  const auto port = *UcxPort::Open();
  const std::string address = hear(to_parent[0], port->address().size());
  ASSERT_TRUE(say(to_child[1], port->address()));
  const CollectiveOptions options = {
      .epoch = 7, .token = "secret", .rank = 0, .addresses = {port->address(), address}, .floats_max = kFloatsMax};
  auto rank = *port->Join(options);
  absl::Status status;
  EXPECT_EQ(WrongAfter(*rank, 0, 5, {0, 3000, 7000}, &status), 0);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(hear(to_parent[0], 1), "y");
  std::thread later([&] {
    absl::SleepFor(absl::Milliseconds(100));
    kill(child, SIGKILL);
  });
  status = Alone(*rank, {});
  later.join();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("rank 1"));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  rank.reset();
  EXPECT_TRUE(absl::IsUnavailable(port->Join(options).status()));
}

TEST(SharedMemoryDomain, IsTheSameForOneProcess) {
  EXPECT_NE(SharedMemoryDomain(), "");
  EXPECT_EQ(SharedMemoryDomain(), SharedMemoryDomain());
}

}  // namespace
}  // namespace barn
