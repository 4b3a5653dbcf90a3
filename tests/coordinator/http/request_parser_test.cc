#include "coordinator/http/request_parser.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/http/fuzz_request.h"

namespace barn {
namespace {

TEST(ParseRequest, ReadsHeadAndBody) {
  const auto [request, error] = ParseRequest("POST /a/b?c=d HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz");
  ASSERT_FALSE(error.has_value()) << error->message;
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/a/b");
  EXPECT_EQ(request.body, "xyz");
  const std::string large(1'000'000, 'x');
  EXPECT_EQ(ParseRequest(absl::StrCat("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", large)).first.body, large);
  EXPECT_EQ(
      ParseRequest("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").first.body,
      "abc");
}

TEST(ParseRequest, ErrorsHaveTheStatusOfTheirKind) {
  const RequestLimits limits{.header_bytes_max = 100, .body_bytes_max = 10};
  struct Case {
    std::string bytes;
    int status;
  };
  for (const Case& bad : std::vector<Case>{
           {"", 400},
           {"GET / HTTP/1.1\r\n", 400},
           {"GET / SPDY/1\r\n\r\n", 400},
           {"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", 400},
           {"POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400},
           {"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n", 413},
           {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
           {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n", 413},
           {absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(200, 'x'), "\r\n\r\n"), 431},
       }) {
    const auto [request, error] = ParseRequest(bad.bytes, limits);
    ASSERT_TRUE(error.has_value()) << bad.bytes;
    EXPECT_EQ(error->status, bad.status) << bad.bytes;
  }
}

std::vector<std::string> SeedCorpus() {
  std::vector<std::string> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(BARN_SOURCE_DIR "/tests/data/fuzz/http")) {
    std::ifstream file(entry.path(), std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

// The fuzzer's entry over its seeds and mutations of them, so that every build runs it.
TEST(FuzzRequest, SeedsAndTheirMutationsKeepThePromises) {
  const std::vector<std::string> seeds = SeedCorpus();
  ASSERT_GE(seeds.size(), 10);
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string input = seeds[round % seeds.size()];
    const int edits = round < static_cast<int>(seeds.size()) ? 0 : 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < edits && !input.empty(); ++i) {
      const size_t at = random() % input.size();
      switch (random() % 4) {
        case 0:
          input[at] = static_cast<char>(random());
          break;
        case 1:
          input.erase(at, 1 + random() % 8);
          break;
        case 2:
          input.insert(at, input.substr(random() % input.size(), random() % 16));
          break;
        default:
          input.resize(at);
      }
    }
    FuzzRequest(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  }
}

}  // namespace
}  // namespace barn
