#include "coordinator/cli/status_text.h"

#include <gtest/gtest.h>

#include "coordinator/cluster/state_json.h"

namespace barn {
namespace {

TEST(StatusText, WorkersAndHowTheySpendTheirTime) {
  EngineState state;
  state.ready = true;
  state.requests_total = 7;
  state.running = 2;
  state.kv_blocks_total = 10;
  state.kv_blocks_free = 4;
  WorkerState& worker = state.workers.emplace_back();
  worker.id = 3;
  worker.name = "local-0";
  worker.device = "cpu avx512, 2 threads";
  worker.memory_bytes = int64_t{8} << 30;
  worker.stage = 1;
  worker.first_layer = 4;
  worker.last_layer = 8;
  worker.load_bytes_total = 1 << 20;
  worker.loaded = true;
  worker.recent = {.seconds = 10, .busy = 0.9, .wait = 0.05};
  state.workers.emplace_back().name = "spare";
  const auto text = StatusText(StateJson(state, "gemma"));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text,
            "gemma: ready\n"
            "worker 3  local-0, cpu avx512, 2 threads, 8.00 GiB\n"
            "  stage 1, layers 4 to 7, 1.00 MiB\n"
            "  last 10 s     90 % busy   5 % waiting   5 % idle\n"
            "  since ready  -\n"
            "worker 0  spare, , 0 B\n"
            "  holds nothing\n"
            "requests  2 running, 0 waiting, 7 in all, 0 failed\n"
            "tokens    0 of prompts, 0 generated, in 0 steps\n"
            "KV        4 of 10 blocks free\n");
}

TEST(StatusText, NotReady) {
  EngineState state;
  state.reason = "waiting for 1 of 2 workers";
  const auto text = StatusText(StateJson(state, "m"));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->substr(0, text->find('\n')), "m: waiting for 1 of 2 workers");
}

TEST(StatusText, WhatIsNotAStateIsAnError) {
  for (const char* json : {"", "{}", "[1]", R"({"model": 3, "ready": true})", R"({"model": "m", "ready": 7})"}) {
    EXPECT_EQ(StatusText(json).status().code(), absl::StatusCode::kDataLoss) << json;
  }
}

}  // namespace
}  // namespace barn
