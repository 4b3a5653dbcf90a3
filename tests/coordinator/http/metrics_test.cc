#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coordinator/http/histogram.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using ::testing::ElementsAre;

TEST(Histogram, CountsUpToItsBounds) {
  const double bounds[] = {1, 2, 5};
  Histogram histogram(bounds);
  for (const double value : {0.5, 1.0, 1.5, 4.0, 100.0}) histogram.Add(value);
  const HistogramPicture picture = histogram.Read();
  EXPECT_THAT(picture.up_to, ElementsAre(2, 3, 4));
  EXPECT_EQ(picture.count, 5);
  EXPECT_DOUBLE_EQ(picture.sum, 107);
  HistogramPicture plain(bounds);
  for (const double value : {0.5, 1.0, 1.5, 4.0, 100.0}) plain.Add(value);
  EXPECT_EQ(plain.up_to, picture.up_to);
  EXPECT_EQ(plain.count, picture.count);
}

// Samples by name with labels. Each family must have its type before its samples, once.
std::map<std::string, double> Samples(const std::string& text) {
  std::map<std::string, double> samples;
  std::map<std::string, std::string> types;
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  for (const std::string& line : lines) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    if (words[0] == "#") {
      if (words[1] == "TYPE") {
        EXPECT_TRUE(types.emplace(words[2], words[3]).second) << line;
      }
      continue;
    }
    const size_t space = line.rfind(' ');
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod(line.substr(space + 1), &value)) << line;
    std::string name = line.substr(0, line.find_first_of("{ "));
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      if (absl::EndsWith(name, suffix) && types.contains(name.substr(0, name.size() - std::string(suffix).size()))) {
        name.resize(name.size() - std::string(suffix).size());
      }
    }
    EXPECT_TRUE(types.contains(name)) << line;
    EXPECT_TRUE(samples.emplace(line.substr(0, space), value).second) << line;
  }
  return samples;
}

TEST(Metrics, TellOfEveryAnswer) {
  TestServer server;
  HttpClient client(server.port());
  for (const int max_tokens : {1, 5, 20}) {
    ASSERT_EQ(client.Post("/v1/completions", {{"prompt", "one"}, {"max_tokens", max_tokens}}).status, 200);
  }
  ASSERT_EQ(client.Post("/v1/completions", {{"prompt", "one"}, {"max_tokens", 3}, {"stream", true}}).status, 200);
  std::map<std::string, double> samples;
  ASSERT_TRUE(Eventually([&] {
    samples = Samples(client.Get("/metrics").body);
    return samples.at("barn_request_seconds_count") == 4;
  }));
  EXPECT_EQ(samples.at("barn_time_to_first_token_seconds_count"), 4);
  EXPECT_EQ(samples.at("barn_time_to_first_token_seconds_bucket{le=\"+Inf\"}"), 4);
  EXPECT_EQ(samples.at("barn_inter_token_seconds_count"), 29 - 4);
  EXPECT_EQ(samples.at("barn_request_generated_tokens_sum"), 29);
  EXPECT_EQ(samples.at("barn_request_generated_tokens_bucket{le=\"4\"}"), 2);
  EXPECT_EQ(samples.at("barn_answers_total{reason=\"length\"}"), 4);
}

// Dashboards and routers made for vLLM read these.
TEST(Metrics, HaveTheNamesOfVllm) {
  TestServer server;
  HttpClient client(server.port());
  client.Post("/v1/completions", {{"prompt", "one"}, {"max_tokens", 3}});
  std::map<std::string, double> samples;
  ASSERT_TRUE(Eventually([&] {
    samples = Samples(client.Get("/metrics").body);
    return samples.at("barn_request_seconds_count") == 1;
  }));
  const std::string model = absl::StrCat("{model_name=\"", kTestModel, "\"}");
  for (const char* name :
       {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens_total",
        "generation_tokens_total", "time_to_first_token_seconds_count", "inter_token_latency_seconds_sum",
        "num_preemptions_total", "prefix_cache_hits_total", "e2e_request_latency_seconds_count"}) {
    EXPECT_TRUE(samples.contains(absl::StrCat("vllm:", name, model))) << name;
  }
  EXPECT_EQ(samples.at("vllm:generation_tokens_total" + model), 3);
  EXPECT_EQ(samples.at(
                absl::StrCat("vllm:request_success_total{model_name=\"", kTestModel, "\",finished_reason=\"length\"}")),
            1);
}

}  // namespace
}  // namespace barn
