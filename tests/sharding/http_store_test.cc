#include "sharding/store/http_store.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/sharding/http_range_server.h"

namespace barn {
namespace {

const HttpStoreOptions kQuick{.connect_timeout = absl::Seconds(2),
                              .stall_timeout = absl::Seconds(1),
                              .backoff_first = absl::Milliseconds(5),
                              .attempts_max = 4,
                              .redirects_max = 3};

std::string Content(size_t size = 100000) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    content[i] = static_cast<char>(i * 31 + i / 251);
  }
  return content;
}

absl::StatusOr<std::string> Read(const Store& store, int64_t offset, size_t length) {
  std::string out(length, '\0');
  const absl::Status status = store.Read(offset, std::as_writable_bytes(std::span(out)));
  return status.ok() ? absl::StatusOr<std::string>(out) : status;
}

std::unique_ptr<Store> Open(const HttpRangeServer& server) {
  auto store = OpenHttpStore(server.Url(), kQuick);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

TEST(HttpStore, ReadsRangesAndMovesNoMore) {
  const std::string content = Content();
  HttpRangeServer server(content);
  const auto opened = OpenStore(server.Url());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Store& store = **opened;
  EXPECT_EQ(store.size_bytes(), 100000);
  for (const auto& [offset, length] :
       {std::pair<int64_t, size_t>{0, 1}, {0, 100000}, {99999, 1}, {777, 4096}, {5, 0}}) {
    const auto bytes = Read(store, offset, length);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, content.substr(offset, length));
  }
  EXPECT_EQ(server.body_bytes(), 1 + 1 + 100000 + 1 + 4096);
  EXPECT_TRUE(absl::IsUnimplemented(store.Map(0, 1).status()));
}

TEST(HttpStore, BoundsAreChecked) {
  HttpRangeServer server(Content());
  const auto store = Open(server);
  EXPECT_TRUE(absl::IsOutOfRange(Read(*store, 99999, 2).status()));
  EXPECT_TRUE(absl::IsOutOfRange(Read(*store, -1, 1).status()));
  EXPECT_TRUE(absl::IsOutOfRange(Read(*store, INT64_MAX, 1).status()));
}

TEST(HttpStore, ThreadsReadAtATime) {
  const std::string content = Content();
  HttpRangeServer server(content);
  const auto store = Open(server);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const auto bytes = Read(*store, t * 20000 + i * 500, 500);
        ASSERT_TRUE(bytes.ok()) << bytes.status();
        ASSERT_EQ(*bytes, content.substr(t * 20000 + i * 500, 500));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(HttpStore, AServerThatIgnoresRangesIsRefusedWithoutADownload) {
  HttpRangeServer server(Content(50 << 20));
  server.OnRequest([](const RangeRequest&, RangeAnswer& answer) {
    answer.status = 200;
    answer.body = std::string(50 << 20, 'x');
  });
  const auto store = OpenHttpStore(server.Url(), kQuick);
  EXPECT_TRUE(absl::IsFailedPrecondition(store.status())) << store.status();
  EXPECT_NE(store.status().message().find("ignores byte ranges"), std::string::npos);
  EXPECT_EQ(server.requests(), 1);
}

TEST(HttpStore, ADroppedConnectionResumesWhereItStopped) {
  const std::string content = Content();
  HttpRangeServer server(content);
  const auto store = Open(server);
  std::vector<int64_t> starts;
  server.OnRequest([&](const RangeRequest& request, RangeAnswer& answer) {
    starts.push_back(request.first);
    if (starts.size() <= 3) {
      answer.content_length = static_cast<int64_t>(answer.body.size());
      answer.drop_after = 1000;
    }
  });
  const auto bytes = Read(*store, 100, 5000);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content.substr(100, 5000));
  EXPECT_EQ(starts, (std::vector<int64_t>{100, 1100, 2100, 3100}));
}

TEST(HttpStore, AttemptsAreBounded) {
  HttpRangeServer server(Content());
  const auto store = Open(server);
  server.OnRequest([](const RangeRequest&, RangeAnswer& answer) { answer.drop_after = 0; });
  const auto bytes = Read(*store, 0, 10);
  EXPECT_TRUE(absl::IsUnavailable(bytes.status())) << bytes.status();
  EXPECT_NE(bytes.status().message().find("gave up after 4 attempts"), std::string::npos) << bytes.status();
  EXPECT_EQ(server.requests(), 1 + 4);
}

TEST(HttpStore, ABusyServerIsAskedAgain) {
  HttpRangeServer server(Content());
  server.OnRequest([](const RangeRequest& request, RangeAnswer& answer) {
    answer.status = request.number < 2 ? 503 : answer.status;
  });
  EXPECT_NE(Open(server), nullptr);
  EXPECT_EQ(server.requests(), 3);
}

TEST(HttpStore, AStalledTransferIsBrokenOff) {
  HttpRangeServer server(Content());
  const auto store = Open(server);
  server.OnRequest([](const RangeRequest& request, RangeAnswer& answer) {
    if (request.number == 1) {
      answer.content_length = static_cast<int64_t>(answer.body.size());
      answer.body.resize(10);
      answer.stall = true;
    }
  });
  const absl::Time began = absl::Now();
  EXPECT_TRUE(Read(*store, 0, 1000).ok());
  EXPECT_LT(absl::Now() - began, absl::Seconds(10));
}

TEST(HttpStore, AChangedFileIsDataLoss) {
  HttpRangeServer server(Content());
  const auto store = Open(server);
  server.OnRequest([](const RangeRequest& request, RangeAnswer& answer) {
    EXPECT_EQ(request.if_range, "\"v1\"");
    answer.status = 200;
  });
  EXPECT_TRUE(absl::IsDataLoss(Read(*store, 0, 10).status()));
}

TEST(HttpStore, LiesAboutRangesAndSizesAreRefused) {
  for (const char* lie :
       {"Content-Range: bytes 0-9/50\r\n",       // Another size.
        "Content-Range: bytes 1-10/100000\r\n",  // Another place.
        "Content-Range: bytes 0-10/100000\r\n",  // More than asked.
        "Content-Range: bytes 9-0/100000\r\n", "Content-Range: bytes 0-9\r\n", "Content-Range: bytes -5-9/100000\r\n",
        "Content-Range: bytes 0-99999999999999999999/100000\r\n", "Content-Range: lies\r\n", ""}) {
    HttpRangeServer server(Content());
    const auto store = Open(server);
    server.OnRequest([lie](const RangeRequest&, RangeAnswer& answer) { answer.headers = lie; });
    const auto bytes = Read(*store, 0, 10);
    EXPECT_TRUE(absl::IsFailedPrecondition(bytes.status()) || absl::IsDataLoss(bytes.status()))
        << lie << bytes.status();
    EXPECT_EQ(server.requests(), 2) << lie;
  }
}

TEST(HttpStore, MoreBytesThanTheRangeAreRefused) {
  HttpRangeServer server(Content());
  const auto store = Open(server);
  server.OnRequest([](const RangeRequest&, RangeAnswer& answer) { answer.body += "surplus"; });
  EXPECT_TRUE(absl::IsFailedPrecondition(Read(*store, 0, 10).status()));
}

TEST(HttpStore, AServerThatHidesTheSizeIsRefused) {
  HttpRangeServer server(Content());
  server.OnRequest([](const RangeRequest&, RangeAnswer& answer) { answer.headers = "Content-Range: bytes 0-0/*\r\n"; });
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenHttpStore(server.Url(), kQuick).status()));
}

TEST(HttpStore, StatusCodesBecomeErrors) {
  HttpRangeServer server(Content());
  const auto open_with = [&](int status) {
    server.OnRequest([status](const RangeRequest&, RangeAnswer& answer) { answer.status = status; });
    return OpenHttpStore(server.Url(), kQuick).status();
  };
  EXPECT_TRUE(absl::IsNotFound(open_with(404)));
  EXPECT_TRUE(absl::IsPermissionDenied(open_with(401)));
  EXPECT_TRUE(absl::IsPermissionDenied(open_with(403)));
  EXPECT_TRUE(absl::IsUnavailable(open_with(500)));
  EXPECT_TRUE(absl::IsFailedPrecondition(open_with(400)));
  EXPECT_NE(open_with(404).message().find("404"), std::string::npos);
}

TEST(HttpStore, RedirectsAreFollowedButNotForEver) {
  const std::string content = Content();
  HttpRangeServer target(content);
  HttpRangeServer server("");
  server.OnRequest([&](const RangeRequest& request, RangeAnswer& answer) {
    answer.status = 302;
    answer.headers = "Location: " + (request.path == "/loop" ? server.Url("/loop") : target.Url()) + "\r\n";
    answer.headers += "ETag: \"of the redirect\"\r\n";
    answer.body.clear();
  });
  const auto store = OpenHttpStore(server.Url(), kQuick);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(*Read(**store, 50, 100), content.substr(50, 100));
  const int64_t before = server.requests();
  EXPECT_FALSE(OpenHttpStore(server.Url("/loop"), kQuick).ok());
  EXPECT_LE(server.requests() - before, 5);
}

TEST(HttpStore, RedirectsReachNoFiles) {
  HttpRangeServer server("");
  server.OnRequest([](const RangeRequest&, RangeAnswer& answer) {
    answer.status = 302;
    answer.headers = "Location: file:///etc/passwd\r\n";
  });
  EXPECT_FALSE(OpenHttpStore(server.Url(), kQuick).ok());
}

TEST(HttpStore, IdentityFollowsTheVersion) {
  HttpRangeServer one(Content(), "\"v1\""), two(Content(), "\"v2\""), none(Content(), "");
  EXPECT_EQ(Open(one)->Identity(), Open(one)->Identity());
  EXPECT_NE(Open(one)->Identity(), Open(two)->Identity());
  EXPECT_NE(Open(none)->Identity(), Open(none)->Identity());  // Nothing proves that it is the same file.
}

TEST(HttpStore, NamesHoldNoSecrets) {
  HttpRangeServer server(Content());
  std::string url = server.Url("/m.gguf?signature=secret");
  url.replace(0, 7, "http://user:password@");
  const auto store = OpenHttpStore(url, kQuick);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->Name(), server.Url("/m.gguf"));
}

TEST(HttpStore, NobodyThereIsUnavailable) {
  std::string url;
  { url = HttpRangeServer("").Url(); }
  EXPECT_TRUE(absl::IsUnavailable(OpenHttpStore(url, kQuick).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenHttpStore("ftp://host/file", kQuick).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenHttpStore("http://", kQuick).status()));
}

}  // namespace
}  // namespace barn
