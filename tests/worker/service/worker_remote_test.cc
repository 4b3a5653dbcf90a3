// A model behind an HTTP server: each worker fetches its own slice, once.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/sharding/http_range_server.h"
#include "tests/worker/service/worker_fixture.h"

namespace barn {
namespace {

namespace fs = std::filesystem;

const std::vector<int32_t> kPrompt = {172, 199, 170, 144, 252};

TEST(WorkerRemote, TwoStagesFetchTheirSlicesOnceAndAnswerAlike) {
  std::ifstream file(OracleModelPath(), std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(content.empty());
  HttpRangeServer server(content);
  std::string directory = testing::TempDir() + "barn-remote-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::vector<float> expected = SliceLogits({kPrompt})[0];

  for (const bool cached : {false, true}) {
    FakeCoordinator coordinator;
    WorkerOptions options = TestWorkerOptions(coordinator);
    options.cache_dir = directory + "/a";
    RunningWorker worker_a(options);
    const auto first = coordinator.AwaitPeer(0);
    options.cache_dir = directory + "/b";
    RunningWorker worker_b(options);
    const auto last = coordinator.AwaitPeer(1);
    ASSERT_TRUE(first && last);
    first->Send(LoadMessage(
        {.stages = 2, .last_layer = 1, .next_address = last->hello().exchange_address(), .model = server.Url()}));
    last->Send(LoadMessage({.stage = 1, .stages = 2, .first_layer = 1, .model = server.Url()}));
    const auto a = first->NextLoadResult(), b = last->NextLoadResult();
    ASSERT_TRUE(a && b);
    ASSERT_EQ(a->code(), 0) << a->error();
    ASSERT_EQ(b->code(), 0) << b->error();
    const int64_t moved = a->bytes_moved() + b->bytes_moved();
    if (cached) {
      EXPECT_EQ(moved, 0);
    } else {
      EXPECT_GT(a->bytes_moved(), 0);
      EXPECT_GT(b->bytes_moved(), a->bytes_moved());  // Two layers of three.
      EXPECT_LT(moved, static_cast<int64_t>(content.size()));
    }
    const auto step = StepMessage(1, 1, 0, kPrompt);
    last->Send(step);
    first->Send(step);
    const auto answer = last->NextAnswer();
    ASSERT_TRUE(answer && answer->has_step_result());
    EXPECT_EQ(FullLogits(answer->step_result().sequences(0)), expected);
  }
  fs::remove_all(directory);
}

TEST(WorkerRemote, AServerThatFailsIsALoadErrorAndTheNextLoadWorks) {
  HttpRangeServer server("not a model at all, but long enough for a header to be read from it");
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_NE(peer, nullptr);
  peer->Send(LoadMessage({.model = server.Url()}));
  const auto bad = peer->NextLoadResult();
  ASSERT_TRUE(bad.has_value());
  EXPECT_NE(bad->code(), 0);
  EXPECT_NE(bad->error().find(server.Url()), std::string::npos) << bad->error();
  peer->Send(LoadMessage({.epoch = 2}));
  EXPECT_EQ(peer->NextLoadResult()->code(), 0);
}

}  // namespace
}  // namespace barn
