#include "coordinator/cluster/state_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace barn {
namespace {

TEST(StateJson, NamesEveryFieldAndSurvivesAnyName) {
  EngineState state;
  state.reason = "loading 41 %";
  state.kv_blocks_total = 9;
  WorkerState& worker = state.workers.emplace_back();
  worker.id = 3;
  worker.name = "bad \xff name";
  worker.last_layer = 7;
  worker.recent = {.seconds = 10, .busy = 0.5, .wait = 0.25};
  const auto json = nlohmann::json::parse(StateJson(state, "m"));
  EXPECT_EQ(json["model"], "m");
  EXPECT_EQ(json["reason"], "loading 41 %");
  EXPECT_EQ(json["kv_blocks_total"], 9);
  EXPECT_EQ(json["workers"][0]["id"], 3);
  EXPECT_EQ(json["workers"][0]["last_layer"], 7);
  EXPECT_EQ(json["workers"][0]["name"], "bad \xef\xbf\xbd name");
  EXPECT_EQ(json.size(), 16u);
  EXPECT_EQ(json["workers"][0].size(), 15u);
  EXPECT_EQ(json["workers"][0]["recent"],
            (nlohmann::json{{"seconds", 10.0}, {"busy", 0.5}, {"wait", 0.25}, {"idle", 0.25}}));
  EXPECT_EQ(json["workers"][0]["since_ready"]["seconds"], 0);
}

}  // namespace
}  // namespace barn
