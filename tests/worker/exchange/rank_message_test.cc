#include "worker/exchange/rank_message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

namespace barn {
namespace {

// Rank 0 of 2, whose peer shares `width` columns of `rows` rows behind its own 3.
struct Receiver {
  explicit Receiver(int64_t rows = 2, int64_t width = 5) : bounds({0, 3, 3 + width}), data(rows * 10, -1) {
    shared = {.data = data.data(), .rows = rows, .stride = 10, .bounds = bounds};
  }

  static RankMessage Chunk(int64_t round, int64_t total, int64_t offset, int32_t count) {
    RankMessage message;
    std::strcpy(message.token, "secret");
    message.epoch = 4;
    message.round = round;
    message.total = total;
    message.offset = offset;
    message.count = count;
    message.rank = 1;
    message.ranks = 2;
    message.kind = RankMessage::kChunk;
    return message;
  }
  // The values of a block are 0, 1, 2, ...
  void Give(const RankMessage& message, int64_t bytes_missing = 0, size_t header_bytes = sizeof(RankMessage)) {
    std::vector<float> values(std::max(message.count, 1));
    std::iota(values.begin(), values.end(), static_cast<float>(message.offset));
    inbox.Receive({reinterpret_cast<const char*>(&message), header_bytes},
                  {reinterpret_cast<const char*>(values.data()),
                   static_cast<size_t>(std::max(message.count, 0)) * sizeof(float) - bytes_missing});
  }

  std::vector<int64_t> bounds;
  std::vector<float> data;
  SharedRows shared;
  RankInbox inbox{{.epoch = 4, .token = "secret", .rank = 0, .ranks = 2, .floats_max = 100}};
};

TEST(RankInbox, PutsChunksWhereTheyBelong) {
  Receiver receiver;
  ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
  receiver.Give(Receiver::Chunk(1, 10, 0, 7));
  EXPECT_FALSE(receiver.inbox.complete());
  receiver.Give(Receiver::Chunk(1, 10, 7, 3));
  EXPECT_TRUE(receiver.inbox.complete());
  EXPECT_EQ(receiver.data, (std::vector<float>{-1, -1, -1, 0, 1, 2, 3, 4, -1, -1,  //
                                               -1, -1, -1, 5, 6, 7, 8, 9, -1, -1}));
  std::vector<float> block(10);
  PackBlock(receiver.shared, 1, 0, 4, block.data());
  PackBlock(receiver.shared, 1, 4, 6, block.data() + 4);
  EXPECT_EQ(block, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(RankInbox, KeepsTheNextCallForLater) {
  Receiver receiver;
  receiver.Give(Receiver::Chunk(1, 10, 0, 4));
  EXPECT_EQ(receiver.data[3], -1);
  ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
  EXPECT_EQ(receiver.data[3], 0);
  receiver.Give(Receiver::Chunk(1, 10, 4, 6));
  EXPECT_TRUE(receiver.inbox.complete());
  receiver.Give(Receiver::Chunk(2, 10, 0, 10));
  receiver.inbox.End();
  ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
  EXPECT_TRUE(receiver.inbox.complete());
}

TEST(RankInbox, StrangersAreIgnored) {
  Receiver receiver;
  ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
  RankMessage wrong = Receiver::Chunk(1, 10, 0, 10);
  std::strcpy(wrong.token, "Secret");
  receiver.Give(wrong);
  std::memset(wrong.token, 's', sizeof(wrong.token));
  receiver.Give(wrong);
  std::memset(wrong.token, 0, sizeof(wrong.token));
  receiver.Give(wrong);
  wrong = Receiver::Chunk(1, 10, 0, 10);
  wrong.epoch = 3;
  receiver.Give(wrong);
  receiver.Give(Receiver::Chunk(1, 10, 0, 10), 0, sizeof(RankMessage) - 1);
  EXPECT_EQ(receiver.inbox.ignored(), 5);
  EXPECT_TRUE(receiver.inbox.status().ok());
  EXPECT_FALSE(receiver.inbox.complete());
}

TEST(RankInbox, SizesThatDoNotFitAreDataLoss) {
  const std::function<void(RankMessage&)> cases[] = {
      [](RankMessage& m) { m.total = 11; },  // Not what this rank expects.
      [](RankMessage& m) { m.total = INT64_MAX; },
      [](RankMessage& m) { m.total = -10; },
      [](RankMessage& m) { m.offset = 1; },
      [](RankMessage& m) { m.offset = -1; },
      [](RankMessage& m) { m.offset = INT64_MAX; },
      [](RankMessage& m) { m.count = 11; },
      [](RankMessage& m) { m.count = 0; },
      [](RankMessage& m) { m.count = INT32_MIN; },
      [](RankMessage& m) { m.round = 3; },
      [](RankMessage& m) { m.round = 0; },
      [](RankMessage& m) { m.round = 2, m.total = 101; },  // Ahead, and larger than anything.
      [](RankMessage& m) { m.rank = 0; },
      [](RankMessage& m) { m.rank = 2; },
      [](RankMessage& m) { m.rank = -1; },
      [](RankMessage& m) { m.ranks = 3; },
      [](RankMessage& m) { m.kind = 9; },
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    Receiver receiver;
    ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
    RankMessage message = Receiver::Chunk(1, 10, 0, 10);
    cases[i](message);
    receiver.Give(message);
    EXPECT_TRUE(absl::IsDataLoss(receiver.inbox.status())) << i << " " << receiver.inbox.status();
    EXPECT_FALSE(receiver.inbox.complete());
  }
  Receiver short_data;
  ASSERT_TRUE(short_data.inbox.Begin(short_data.shared).ok());
  short_data.Give(Receiver::Chunk(1, 10, 0, 10), 4);
  EXPECT_TRUE(absl::IsDataLoss(short_data.inbox.status()));
}

TEST(RankInbox, AnEarlyBlockOfAnotherSizeIsDataLoss) {
  Receiver receiver;
  receiver.Give(Receiver::Chunk(1, 12, 0, 12));
  EXPECT_TRUE(absl::IsDataLoss(receiver.inbox.Begin(receiver.shared)));
  Receiver changes;
  changes.Give(Receiver::Chunk(1, 12, 0, 4));
  changes.Give(Receiver::Chunk(1, 50, 4, 4));
  EXPECT_TRUE(absl::IsDataLoss(changes.inbox.status()));
}

TEST(RankInbox, AGoodbyeCountsOnlyForWhatIsMissing) {
  Receiver receiver;
  ASSERT_TRUE(receiver.inbox.Begin(receiver.shared).ok());
  RankMessage goodbye = Receiver::Chunk(1, 0, 0, 0);
  goodbye.kind = RankMessage::kGoodbye;
  receiver.Give(Receiver::Chunk(1, 10, 0, 10));
  receiver.Give(goodbye);
  EXPECT_TRUE(receiver.inbox.status().ok());
  EXPECT_TRUE(receiver.inbox.complete());
  receiver.inbox.End();
  EXPECT_TRUE(absl::IsUnavailable(receiver.inbox.Begin(receiver.shared)));
}

}  // namespace
}  // namespace barn
