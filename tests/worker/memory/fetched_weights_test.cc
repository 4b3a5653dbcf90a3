#include "worker/memory/fetched_weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "tests/sharding/http_range_server.h"

namespace barn {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTensorBytes = 10000;

class FetchedWeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "barn-fetch-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    content_.resize(20 * kTensorBytes);
    for (size_t i = 0; i < content_.size(); ++i) {
      content_[i] = static_cast<char>(i * 7 + i / 253);
    }
    cache_ = *Cache::Open({.directory = directory_ + "/cache", .bytes_max = 1 << 20});
    options_.chunk_bytes = 3000;  // Several chunks a tensor, the last one short.
    options_.on_progress = [this](const FetchProgress& progress) { progress_.push_back(progress); };
  }
  void TearDown() override {
    cache_.reset();
    fs::remove_all(directory_);
  }

  static GgufTensor TensorAt(int64_t index) {
    GgufTensor tensor;
    tensor.name = "t" + std::to_string(index);
    tensor.offset_bytes = index * kTensorBytes;
    tensor.size_bytes = kTensorBytes;
    return tensor;
  }
  absl::StatusOr<std::unique_ptr<FetchedWeights>> Fetch(const std::string& reference,
                                                        std::initializer_list<int64_t> indices) {
    auto store = OpenStore(reference);
    if (!store.ok()) {
      return store.status();
    }
    std::vector<GgufTensor> tensors;
    for (const int64_t index : indices) {
      tensors.push_back(TensorAt(index));
    }
    progress_.clear();
    return FetchedWeights::Create({std::shared_ptr<const Store>(*std::move(store))}, tensors, cache_.get(), options_);
  }
  void ExpectBytes(FetchedWeights& weights, int64_t index) {
    const auto bytes = weights.Tensor(TensorAt(index));
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    ASSERT_EQ(static_cast<int64_t>(bytes->size()), kTensorBytes);
    EXPECT_EQ(std::memcmp(bytes->data(), content_.data() + index * kTensorBytes, kTensorBytes), 0) << index;
  }

  std::string directory_, content_;
  std::unique_ptr<Cache> cache_;
  FetchOptions options_;
  std::vector<FetchProgress> progress_;
};

TEST_F(FetchedWeightsTest, OnlyTheSliceMovesAndOnlyOnce) {
  HttpRangeServer server(content_);
  const int64_t moved = 3 * kTensorBytes;
  {
    const auto weights = Fetch(server.Url(), {2, 5, 6});
    ASSERT_TRUE(weights.ok()) << weights.status();
    for (const int64_t index : {2, 5, 6}) {
      ExpectBytes(**weights, index);
    }
    EXPECT_EQ((*weights)->bytes_moved(), moved);
    EXPECT_EQ(server.body_bytes(), moved + 1);
    ASSERT_FALSE(progress_.empty());
    EXPECT_EQ(progress_.back().bytes_done, moved);
    EXPECT_EQ(progress_.back().bytes_total, moved);
  }
  const auto again = Fetch(server.Url(), {5, 2, 6});
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectBytes(**again, 5);
  EXPECT_EQ((*again)->bytes_moved(), 0);
  // A re-plan moves only the difference.
  const auto wider = Fetch(server.Url(), {5, 6, 7});
  ASSERT_TRUE(wider.ok());
  EXPECT_EQ((*wider)->bytes_moved(), kTensorBytes);
  EXPECT_EQ(server.body_bytes(), moved + kTensorBytes + 3);
}

TEST_F(FetchedWeightsTest, LocalFilesAreMappedAndNothingMoves) {
  const std::string path = directory_ + "/model";
  std::ofstream(path, std::ios::binary) << content_;
  const auto weights = Fetch(path, {0, 19});
  ASSERT_TRUE(weights.ok()) << weights.status();
  ExpectBytes(**weights, 0);
  ExpectBytes(**weights, 19);
  ExpectBytes(**weights, 7);  // Not announced.
  EXPECT_EQ((*weights)->bytes_moved(), 0);
  EXPECT_EQ(progress_.back().bytes_done, 2 * kTensorBytes);
  EXPECT_TRUE(fs::is_empty(directory_ + "/cache/blobs"));
}

TEST_F(FetchedWeightsTest, ATensorThatWasNotAnnouncedIsFetchedWhenAskedFor) {
  HttpRangeServer server(content_);
  const auto weights = Fetch(server.Url(), {1});
  ASSERT_TRUE(weights.ok());
  ExpectBytes(**weights, 9);
  ExpectBytes(**weights, 9);
  EXPECT_EQ((*weights)->bytes_moved(), 2 * kTensorBytes);
}

TEST_F(FetchedWeightsTest, TwoNamesOfOneRangeAreOne) {
  HttpRangeServer server(content_);
  const auto weights = Fetch(server.Url(), {3, 3});
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ((*weights)->bytes_moved(), kTensorBytes);
}

TEST_F(FetchedWeightsTest, DroppedConnectionsAreSurvived) {
  HttpRangeServer server(content_);
  server.OnRequest([](const RangeRequest& request, RangeAnswer& answer) {
    if (request.number % 3 == 1) {
      answer.content_length = static_cast<int64_t>(answer.body.size());
      answer.drop_after = 500;
    }
  });
  const auto weights = Fetch(server.Url(), {0, 1, 2, 3});
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (const int64_t index : {0, 1, 2, 3}) {
    ExpectBytes(**weights, index);
  }
}

TEST_F(FetchedWeightsTest, AFailureIsAnErrorAndLeavesNoHalfTensor) {
  HttpRangeServer server(content_);
  server.OnRequest([](const RangeRequest& request, RangeAnswer& answer) {
    if (request.first >= 2 * kTensorBytes + 6000) {
      answer.status = 404;
    }
  });
  const auto weights = Fetch(server.Url(), {1, 2});
  EXPECT_TRUE(absl::IsNotFound(weights.status())) << weights.status();
  EXPECT_TRUE(fs::is_empty(directory_ + "/cache/tmp"));
  server.OnRequest(nullptr);
  const auto again = Fetch(server.Url(), {1, 2});
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectBytes(**again, 2);
}

TEST_F(FetchedWeightsTest, ALoadCanBeCancelled) {
  HttpRangeServer server(content_);
  std::stop_source stop;
  options_.stop = stop.get_token();
  options_.streams = 1;
  server.OnRequest([&](const RangeRequest& request, RangeAnswer&) {
    if (request.number == 3) {
      stop.request_stop();
    }
  });
  const auto weights = Fetch(server.Url(), {0, 1, 2, 3, 4, 5});
  EXPECT_TRUE(absl::IsCancelled(weights.status())) << weights.status();
  EXPECT_EQ(server.requests(), 4);
}

TEST_F(FetchedWeightsTest, ASliceBeyondTheCacheIsSaid) {
  cache_ = *Cache::Open({.directory = directory_ + "/small", .bytes_max = 25000});
  HttpRangeServer server(content_);
  const auto weights = Fetch(server.Url(), {0, 1, 2});
  EXPECT_TRUE(absl::IsResourceExhausted(weights.status())) << weights.status();
}

TEST_F(FetchedWeightsTest, BadTensorsAreErrors) {
  HttpRangeServer server(content_);
  EXPECT_TRUE(absl::IsOutOfRange(Fetch(server.Url(), {20}).status()));
  cache_.reset();
  EXPECT_TRUE(absl::IsFailedPrecondition(Fetch(server.Url(), {0}).status()));
}

}  // namespace
}  // namespace barn
