#include "coordinator/cli/bench_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace barn {
namespace {

BenchReport TwoWorkers() {
  BenchReport report = {.model = "m",
                        .prompt_tokens = 512,
                        .generated_tokens = 64,
                        .repetitions = 3,
                        .load_s = 1.5,
                        .machine = {.cpu = "AMD EPYC",
                                    .system = "Linux 6.1",
                                    .governor = "performance",
                                    .cores = 2,
                                    .memory_bytes = int64_t{16} << 30,
                                    .threads = 2,
                                    .read_bytes_per_s = 34e9},
                        .token_bytes = {.dense = 100'000'000, .experts = 60'000'000, .kv = 10'000'000}};
  WorkerState worker;
  worker.name = "local-0";
  worker.device = "cpu avx512, 1 thread";
  worker.load_bytes_total = 1 << 20;
  report.workers = {worker, worker};
  report.prompt = Summary{.median = 600, .min = 590, .max = 610};
  report.generation = Summary{.median = 150, .min = 149, .max = 152};
  return report;
}

TEST(BenchReport, JsonNames) {
  const nlohmann::json json = nlohmann::json::parse(BenchJson(TwoWorkers()));
  const nlohmann::json worker = {{"name", "local-0"}, {"device", "cpu avx512, 1 thread"}, {"slice_bytes", 1 << 20}};
  EXPECT_EQ(json,
            (nlohmann::json{{"model", "m"},
                            {"workers", 2},
                            {"prompt_tokens", 512},
                            {"generated_tokens", 64},
                            {"depth_tokens", 0},
                            {"streams", 1},
                            {"repetitions", 3},
                            {"load_s", 1.5},
                            {"slices_bytes", 2 << 20},
                            {"prompt_tokens_per_s", 600},
                            {"prompt_tokens_per_s_spread", {{"min", 590}, {"max", 610}}},
                            {"generation_tokens_per_s", 150},
                            {"generation_tokens_per_s_spread", {{"min", 149}, {"max", 152}}},
                            {"token_bytes", {{"dense", 100'000'000}, {"experts", 60'000'000}, {"kv", 10'000'000}}},
                            {"memory_bound_tokens_per_s", 200.0},
                            {"memory_bound_share", 0.75},
                            {"machine",
                             {{"cpu", "AMD EPYC"},
                              {"system", "Linux 6.1"},
                              {"governor", "performance"},
                              {"cores", 2},
                              {"memory_bytes", int64_t{16} << 30},
                              {"threads", 2},
                              {"read_gb_per_s", 34.0},
                              {"workers", {worker, worker}}}}}))
      << json.dump(2);
}

TEST(BenchReport, WhatIsUnknownIsAbsent) {
  BenchReport report = TwoWorkers();
  report.machine.cpu = report.machine.governor = "";
  report.machine.read_bytes_per_s = 0;
  report.prompt.reset();
  const nlohmann::json json = nlohmann::json::parse(BenchJson(report));
  for (const char* name : {"prompt_tokens_per_s", "memory_bound_tokens_per_s", "memory_bound_share"}) {
    EXPECT_FALSE(json.contains(name)) << name;
  }
  for (const char* name : {"cpu", "governor", "read_gb_per_s"}) EXPECT_FALSE(json["machine"].contains(name)) << name;
  EXPECT_EQ(BenchText(report).find("bound"), std::string::npos);
}

TEST(BenchReport, StreamsTogetherHaveNoBoundOfOne) {
  BenchReport report = TwoWorkers();
  report.streams = 4;
  report.depth_tokens = 1000;
  EXPECT_FALSE(nlohmann::json::parse(BenchJson(report)).contains("memory_bound_share"));
  EXPECT_EQ(BenchText(report),
            "m, 2 worker(s); local-0: cpu avx512, 1 thread; local-0: cpu avx512, 1 thread\n"
            "machine    AMD EPYC, 2 core(s), 16.0 GiB, Linux 6.1, governor performance; 2 thread(s) read 34.0 GB/s\n"
            "load       2.00 MiB in 1.50 s\n"
            "median of 3 (least to most)\n"
            "prompt       512 tokens      600.0 tokens/s  (590.0 to 610.0)\n"
            "generation    64 tokens      150.0 tokens/s  (149.0 to 152.0)  behind 1000 tokens  4 streams together\n");
}

TEST(BenchReport, TheBoundInWords) {
  EXPECT_NE(BenchText(TwoWorkers())
                .find("bound      a token reads 162 MiB (dense 95.4 MiB, experts 57.2 MiB, KV 9.54 MiB): at most 200.0 "
                      "tokens/s; 75 % reached\n"),
            std::string::npos)
      << BenchText(TwoWorkers());
}

}  // namespace
}  // namespace barn
