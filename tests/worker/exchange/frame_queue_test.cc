#include "worker/exchange/frame_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "worker/exchange/in_process_hop.h"

namespace barn {
namespace {

constexpr HopEpoch kEpoch{.epoch = 3, .rows_max = 4, .width = 2};

absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

HopFrame Frame(int64_t step, int64_t rows, int64_t width, size_t bytes) {
  return {.epoch = 3, .step_id = step, .rows = rows, .width = width, .data = std::string(bytes, '\0')};
}

TEST(FrameQueue, FramesArriveInOrderWithTheirBits) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  InProcessHopSender sender(queue);
  const std::vector<float> one = {1, 2}, two = {3, 4, 5, 6};
  ASSERT_TRUE(sender.Send(3, 10, 1, 2, one).ok());
  ASSERT_TRUE(sender.Send(3, 11, 2, 2, two).ok());
  const absl::StatusOr<HopFrame> first = queue.Receive(3, 10, Soon());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(std::vector<float>(first->activations().begin(), first->activations().end()), one);
  const absl::StatusOr<HopFrame> second = queue.Receive(3, 11, Soon());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->rows, 2);
  EXPECT_EQ(std::vector<float>(second->activations().begin(), second->activations().end()), two);
}

TEST(FrameQueue, LyingSizesAreRefusedBeforeTheyWait) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  bool full = false;
  for (const HopFrame& bad :
       {Frame(1, 5, 2, 40), Frame(1, 0, 2, 0), Frame(1, -1, 2, 0), Frame(1, 2, 3, 24), Frame(1, 2, 2, 15),
        Frame(1, 2, 2, 17), Frame(1, INT64_MAX, 2, 8), Frame(1, 1, INT64_MAX, 8)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(queue.Push(
        1, bad, [] {}, &full)))
        << bad.rows << " x " << bad.width;
  }
  HopFrame other = Frame(1, 1, 2, 8);
  other.epoch = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(queue.Push(
      1, other, [] {}, &full)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(queue.Receive(3, 1, absl::Now()).status()));
}

TEST(FrameQueue, ANewEpochAbortsTheWaitOfTheOld) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  absl::Status status;
  std::thread waiting([&] { status = queue.Receive(3, 1, Soon()).status(); });
  absl::SleepFor(absl::Milliseconds(20));
  queue.BeginEpoch({.epoch = 4, .rows_max = 4, .width = 2});
  waiting.join();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_TRUE(absl::IsAborted(queue.Receive(3, 2, Soon()).status()));
}

TEST(FrameQueue, ALostStreamEndsTheWaitButNotWhatArrived) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  const std::vector<float> row = {1, 2};
  {
    InProcessHopSender sender(queue);
    ASSERT_TRUE(sender.Send(3, 1, 1, 2, row).ok());
  }
  EXPECT_TRUE(queue.Receive(3, 1, Soon()).ok());
  EXPECT_TRUE(absl::IsUnavailable(queue.Receive(3, 2, Soon()).status()));
  // A stream that dials again serves.
  InProcessHopSender again(queue);
  ASSERT_TRUE(again.Send(3, 3, 1, 2, row).ok());
  EXPECT_TRUE(queue.Receive(3, 3, Soon()).ok());
}

TEST(FrameQueue, SkippedStepsAreToldAndOldFramesForgotten) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  InProcessHopSender sender(queue);
  const std::vector<float> row = {1, 2};
  ASSERT_TRUE(sender.Send(3, 1, 1, 2, row).ok());
  ASSERT_TRUE(sender.Send(3, 3, 1, 2, row).ok());
  EXPECT_TRUE(absl::IsDataLoss(queue.Receive(3, 2, Soon()).status()));
  EXPECT_TRUE(queue.Receive(3, 3, Soon()).ok());
}

TEST(FrameQueue, FullTellsTheTransportAndRoomCallsItOnce) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  bool full = false;
  int calls = 0;
  for (size_t i = 0; i < FrameQueue::kFramesMax; ++i) {
    ASSERT_FALSE(full);
    ASSERT_TRUE(queue
                    .Push(
                        1, Frame(i, 1, 2, 8), [&] { ++calls; }, &full)
                    .ok());
  }
  EXPECT_TRUE(full);
  EXPECT_TRUE(absl::IsResourceExhausted(queue.Push(
      2, Frame(99, 1, 2, 8), [] {}, &full)));
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(queue.Receive(3, 0, Soon()).ok());
  EXPECT_TRUE(queue.Receive(3, 1, Soon()).ok());
  EXPECT_EQ(calls, 1);
}

TEST(FrameQueue, CloseEndsEveryWait) {
  FrameQueue queue;
  queue.BeginEpoch(kEpoch);
  queue.Close();
  EXPECT_TRUE(absl::IsAborted(queue.Receive(3, 1, Soon()).status()));
}

}  // namespace
}  // namespace barn
