#include "worker/service/worker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/time/clock.h"
#include "tests/worker/service/logits_reference.h"
#include "tests/worker/service/worker_fixture.h"

namespace barn {
namespace {

const std::vector<int32_t> kPrompt = {158, 145, 254, 47, 87, 77, 298, 239, 223, 152, 184, 130};

const proto::SequenceResult* OnlySequence(const std::optional<proto::WorkerMessage>& answer) {
  if (!answer || !answer->has_step_result() || answer->step_result().sequences_size() != 1) {
    ADD_FAILURE() << (answer ? answer->ShortDebugString() : "no answer");
    return nullptr;
  }
  return &answer->step_result().sequences(0);
}

std::string Failure(const std::optional<proto::WorkerMessage>& answer) {
  return answer && answer->has_step_failure() ? answer->step_failure().error() : "";
}

TEST(Worker, SaysHelloAndBeatsWhileIdle) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.name = "box";
  options.version = "1.2.3";
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_NE(peer, nullptr);
  EXPECT_EQ(peer->hello().name(), "box");
  EXPECT_EQ(peer->hello().version(), "1.2.3");
  EXPECT_EQ(peer->hello().memory_bytes(), 1 << 30);
  EXPECT_EQ(peer->hello().threads(), 1);
  EXPECT_TRUE(peer->hello().exchange_address().starts_with("127.0.0.1:")) << peer->hello().exchange_address();
  EXPECT_FALSE(peer->hello().device().empty());
  absl::SleepFor(absl::Milliseconds(600));
  EXPECT_GE(peer->heartbeats(), 4);  // 12 at 50 ms; few enough for a busy machine.
}

TEST(Worker, OneStageAnswersWithTheSlicesBits) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_NE(peer, nullptr);
  peer->Send(LoadMessage({}));
  const auto loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded.has_value());
  ASSERT_EQ(loaded->code(), 0) << loaded->error();
  EXPECT_EQ(loaded->bytes_moved(), 0);
  EXPECT_GT(loaded->expert_bytes_per_token(), 0);
  const auto progress = peer->progress();
  ASSERT_FALSE(progress.empty());
  EXPECT_EQ(progress.back().bytes_done(), progress.back().bytes_total());

  peer->Send(StepMessage(1, 1, 0, kPrompt));
  const auto answer = peer->NextAnswer();
  const proto::SequenceResult* result = OnlySequence(answer);
  ASSERT_NE(result, nullptr);
  const std::vector<float> expected = SliceLogits({kPrompt})[0];
  EXPECT_EQ(FullLogits(*result), expected);
  const LogitRanking ranking = RankPlainly(expected, 5);
  EXPECT_NEAR(result->logsumexp(), ranking.logsumexp, 1e-6);
  const std::vector<RankedLogit>& top = ranking.best;
  ASSERT_EQ(result->candidate_ids_size(), 5);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(result->candidate_ids(i), top[i].id);
    EXPECT_EQ(result->candidate_logits(i), top[i].logit);
  }
  EXPECT_GT(answer->step_result().expert_bytes_read(), 0);
}

TEST(Worker, TwoStagesGiveTheSameBitsStepByStep) {
  FakeCoordinator coordinator;
  RunningWorker worker_a(TestWorkerOptions(coordinator));
  const auto first = coordinator.AwaitPeer(0);
  RunningWorker worker_b(TestWorkerOptions(coordinator));
  const auto last = coordinator.AwaitPeer(1);
  ASSERT_TRUE(first && last);
  const std::vector<std::vector<int32_t>> chunks = {
      {kPrompt.begin(), kPrompt.begin() + 7}, {kPrompt.begin() + 7, kPrompt.end()}, {42}, {17}};
  const std::vector<std::vector<float>> expected = SliceLogits(chunks);
  int64_t epoch = 0;
  for (const int64_t cut : {1, 2}) {
    ASSERT_NO_FATAL_FAILURE(LoadTwoStages(*first, *last, ++epoch, cut));
    int64_t position = 0;
    // All steps at once: each stage keeps its own order.
    for (size_t i = 0; i < chunks.size(); ++i) {
      const auto message = StepMessage(epoch, static_cast<int64_t>(i) + 1, position, chunks[i]);
      last->Send(message);
      first->Send(message);
      position += static_cast<int64_t>(chunks[i].size());
    }
    for (size_t i = 0; i < chunks.size(); ++i) {
      const auto acknowledged = first->NextAnswer();
      ASSERT_TRUE(acknowledged && acknowledged->has_step_result()) << Failure(acknowledged);
      EXPECT_EQ(acknowledged->step_result().sequences_size(), 0);
      const auto answer = last->NextAnswer();
      const proto::SequenceResult* result = OnlySequence(answer);
      ASSERT_NE(result, nullptr);
      EXPECT_EQ(answer->step_result().step_id(), static_cast<int64_t>(i) + 1);
      EXPECT_EQ(FullLogits(*result), expected[i]) << "cut " << cut << ", step " << i;
    }
  }
}

TEST(Worker, EditsChangeCandidatesButNotFullLogits) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  const std::vector<float> expected = SliceLogits({kPrompt})[0];
  const int32_t best = RankPlainly(expected, 1).best[0].id;
  proto::CoordinatorMessage message = StepMessage(1, 1, 0, kPrompt);
  proto::LogitEdit& edit = *message.mutable_step()->mutable_sequences(0)->add_edits();
  edit.set_id(best);
  edit.set_add(-1000);
  peer->Send(message);
  const auto answer = peer->NextAnswer();
  const proto::SequenceResult* result = OnlySequence(answer);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(FullLogits(*result), expected);
  EXPECT_EQ(result->candidate_ids(0), RankPlainly(expected, 2).best[1].id);
  EXPECT_LT(result->logsumexp(), RankPlainly(expected, 0).logsumexp);
}

// Guessed tokens are computed in one step; their rows say what single steps would have said.
TEST(Worker, RowsBeforeTheLastHaveCandidatesToo) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  const std::vector<int32_t> rest = {42, 17, 99, 5};
  std::vector<std::vector<int32_t>> chunks = {kPrompt};
  for (const int32_t token : rest) chunks.push_back({token});
  const std::vector<std::vector<float>> expected = SliceLogits(chunks);
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  ASSERT_NE(OnlySequence(peer->NextAnswer()), nullptr);
  proto::CoordinatorMessage message = StepMessage(1, 2, static_cast<int64_t>(kPrompt.size()), rest);
  proto::StepSequence& sequence = *message.mutable_step()->mutable_sequences(0);
  sequence.set_more_candidate_rows(3);
  sequence.set_want_deviation(true);
  peer->Send(message);
  const auto answer = peer->NextAnswer();
  const proto::SequenceResult* result = OnlySequence(answer);
  ASSERT_NE(result, nullptr);
  ASSERT_EQ(result->rows_size(), 3);
  for (int row = 0; row < 4; ++row) {
    const LogitRanking ranking = RankPlainly(expected[row + 1], 5);
    const auto& ids = row < 3 ? result->rows(row).candidate_ids() : result->candidate_ids();
    const auto& logits = row < 3 ? result->rows(row).candidate_logits() : result->candidate_logits();
    ASSERT_EQ(ids.size(), 5);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(ids[i], ranking.best[i].id) << "row " << row;
      EXPECT_EQ(logits[i], ranking.best[i].logit) << "row " << row;
    }
    EXPECT_NEAR(row < 3 ? result->rows(row).logsumexp() : result->logsumexp(), ranking.logsumexp, 1e-6);
    double mean = 0, variance = 0;
    for (const float logit : expected[row + 1]) mean += logit / static_cast<double>(expected[row + 1].size());
    for (const float logit : expected[row + 1]) variance += (logit - mean) * (logit - mean);
    EXPECT_NEAR(row < 3 ? result->rows(row).logit_deviation() : result->logit_deviation(),
                std::sqrt(variance / static_cast<double>(expected[row + 1].size())), 1e-6);
  }
}

TEST(Worker, ScoresTargetsOfManyRows) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  std::vector<int32_t> tokens(30);
  std::iota(tokens.begin(), tokens.end(), 100);
  proto::CoordinatorMessage message = StepMessage(1, 1, 0, tokens);
  proto::StepSequence& sequence = *message.mutable_step()->mutable_sequences(0);
  for (int i = 0; i < 25; ++i) {  // More rows than one chunk of logits.
    sequence.add_targets(i);
  }
  sequence.set_target_candidates(3);
  peer->Send(message);
  const auto answer = peer->NextAnswer();
  const proto::SequenceResult* result = OnlySequence(answer);
  ASSERT_NE(result, nullptr);
  std::vector<std::vector<int32_t>> single;
  for (const int32_t token : tokens) {
    single.push_back({token});
  }
  const std::vector<std::vector<float>> rows = SliceLogits(single);  // A row's bits do not depend on its batch.
  ASSERT_EQ(result->scores_size(), 25);
  for (int i = 0; i < 25; ++i) {
    const std::vector<float>& row = rows[5 + i];
    EXPECT_EQ(result->scores(i).logit(), row[i]);
    EXPECT_NEAR(result->scores(i).logsumexp(), RankPlainly(row, 0).logsumexp, 1e-6);
    EXPECT_EQ(result->scores(i).best(), row[i] == *std::max_element(row.begin(), row.end()));
    ASSERT_EQ(result->scores(i).candidate_ids_size(), 3);
    EXPECT_EQ(result->scores(i).candidate_ids(0), RankPlainly(row, 1).best[0].id);
  }
  EXPECT_EQ(FullLogits(*result), rows.back());
}

TEST(Worker, AStepMayTakeItsTokenFromTheStepBefore) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  proto::CoordinatorMessage prompt = StepMessage(1, 1, 0, kPrompt);
  proto::StepSequence& asked = *prompt.mutable_step()->mutable_sequences(0);
  asked.set_candidates(1);
  // What the model would say is ruled out: the token must come from the edited logits.
  const int32_t first_best = RankPlainly(SliceLogits({kPrompt})[0], 1).best[0].id;
  asked.add_edits()->set_id(first_best);
  asked.mutable_edits(0)->set_add(-INFINITY);
  const int32_t second_best = RankPlainly(SliceLogits({kPrompt})[0], 2).best[1].id;
  peer->Send(prompt);
  peer->Send(FollowingStepMessage(1, 2, static_cast<int64_t>(kPrompt.size())));
  const auto answer = peer->NextAnswer();
  ASSERT_NE(OnlySequence(answer), nullptr);
  EXPECT_EQ(answer->step_result().sequences(0).candidate_ids(0), second_best);
  const auto following = peer->NextAnswer();
  ASSERT_NE(OnlySequence(following), nullptr);
  EXPECT_EQ(FullLogits(following->step_result().sequences(0)), SliceLogits({kPrompt, {second_best}})[1]);

  // Five candidates were asked of that step, so none is certain.
  peer->Send(FollowingStepMessage(1, 3, static_cast<int64_t>(kPrompt.size()) + 1));
  EXPECT_NE(Failure(peer->NextAnswer()).find("there is none"), std::string::npos);
}

TEST(Worker, HostileStepsFailAndTheWorkerGoesOn) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_NE(Failure(peer->NextAnswer()).find("which does not run here"), std::string::npos);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);

  using Sequence = proto::StepSequence;
  const std::vector<std::pair<const char*, void (*)(Sequence&)>> lies = {
      {"token 320", [](Sequence& s) { s.set_tokens(0, 320); }},
      {"token -1", [](Sequence& s) { s.set_tokens(3, -1); }},
      {"rows with", [](Sequence& s) { s.set_rows(2000000000); }},
      {"rows with", [](Sequence& s) { s.set_rows(-1); }},
      {"positions", [](Sequence& s) { s.set_first_position(-1); }},
      {"positions", [](Sequence& s) { s.set_first_position(INT64_MAX); }},
      {"positions", [](Sequence& s) { s.set_first_position(60); }},
      {"block_offset", [](Sequence& s) { s.set_block_offset(-1); }},
      {"block_offset", [](Sequence& s) { s.set_block_offset(INT32_MAX); }},
      {"block 16", [](Sequence& s) { s.set_new_blocks(0, 16); }},
      {"block -1", [](Sequence& s) { s.set_new_blocks(0, -1); }},
      {"do not reach", [](Sequence& s) { s.clear_new_blocks(); }},
      {"candidates", [](Sequence& s) { s.set_candidates(INT32_MAX); }},
      {"candidates", [](Sequence& s) { s.set_candidates(-1); }},
      {"beside targets", [](Sequence& s) { s.set_target_candidates(INT32_MAX); }},
      {"target 320", [](Sequence& s) { s.add_targets(320); }},
      {"targets for", [](Sequence& s) { s.mutable_targets()->Resize(1000, 0); }},
      {"logit edit of id 320", [](Sequence& s) { s.add_edits()->set_id(320); }},
      {"repetition -1", [](Sequence& s) { s.add_edits()->set_repetition(-1); }},
      {"12 rows with 12 tokens", [](Sequence& s) { s.set_takes_best(true); }},
      {"there is none",
       [](Sequence& s) {
         s.set_takes_best(true);
         s.set_rows(1);
         s.clear_tokens();
       }},
  };
  int64_t step = 0;
  for (const auto& [expected, lie] : lies) {
    proto::CoordinatorMessage message = StepMessage(1, ++step, 0, kPrompt);
    lie(*message.mutable_step()->mutable_sequences(0));
    peer->Send(message);
    const auto answer = peer->NextAnswer();
    EXPECT_NE(Failure(answer).find(expected), std::string::npos)
        << expected << " but " << (answer ? answer->ShortDebugString() : "nothing");
    EXPECT_EQ(answer->step_failure().step_id(), step);
    EXPECT_NE(answer->step_failure().code(), 0);
  }
  proto::CoordinatorMessage twice = StepMessage(1, ++step, 0, kPrompt);
  *twice.mutable_step()->add_sequences() = twice.step().sequences(0);
  peer->Send(twice);
  EXPECT_NE(Failure(peer->NextAnswer()).find("twice"), std::string::npos);
  peer->Send(StepMessage(1, ++step, 0, std::vector<int32_t>(33, 1)));
  EXPECT_NE(Failure(peer->NextAnswer()).find("at most 32"), std::string::npos);
  peer->Send(StepMessage(1, step, 0, kPrompt));
  EXPECT_NE(Failure(peer->NextAnswer()).find("comes after step"), std::string::npos);

  peer->Send(StepMessage(1, ++step, 0, kPrompt));
  const auto answer = peer->NextAnswer();
  const proto::SequenceResult* result = OnlySequence(answer);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(FullLogits(*result), SliceLogits({kPrompt})[0]);
}

TEST(Worker, HostileLoadsFailAndTheWorkerGoesOn) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.memory_bytes = 64 << 20;
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  using Load = proto::LoadRequest;
  const std::vector<std::pair<const char*, void (*)(Load&)>> lies = {
      {"number of parts", [](Load& l) { l.clear_parts(); }},
      {"/nowhere.gguf", [](Load& l) { l.set_parts(0, "/nowhere.gguf"); }},
      {"stage is", [](Load& l) { l.set_stage(7); }},
      {"stages is", [](Load& l) { l.set_stages(0); }},
      {"kv_blocks", [](Load& l) { l.set_kv_blocks(INT64_MAX); }},
      {"kv_block_tokens", [](Load& l) { l.set_kv_block_tokens(-4); }},
      {"step_tokens_max", [](Load& l) { l.set_step_tokens_max(INT64_MAX); }},
      {"context_tokens", [](Load& l) { l.set_context_tokens(-1); }},
      {"kv_type", [](Load& l) { l.set_kv_type("q9_0"); }},
      {"layers 0 to 4", [](Load& l) { l.set_last_layer(4); }},
      {"layers 0 to 2", [](Load& l) { l.set_last_layer(2); }},
      {"layers -1", [](Load& l) { l.set_first_layer(-1); }},
      {"this worker offers", [](Load& l) { l.set_kv_blocks(1 << 24); }},
      {"epoch 0", [](Load& l) { l.set_epoch(0); }},
      {"exchange token", [](Load& l) { l.set_stages(2), l.set_last_layer(2), l.clear_exchange_token(); }},
  };
  for (const auto& [expected, lie] : lies) {
    proto::CoordinatorMessage message = LoadMessage({});
    lie(*message.mutable_load());
    peer->Send(message);
    const auto result = peer->NextLoadResult();
    ASSERT_TRUE(result.has_value()) << expected;
    EXPECT_NE(result->code(), 0) << expected;
    EXPECT_NE(result->error().find(expected), std::string::npos) << expected << " but " << result->error();
  }
  peer->Send(LoadMessage({}));
  EXPECT_EQ(peer->NextLoadResult()->code(), 0);
}

}  // namespace
}  // namespace barn
