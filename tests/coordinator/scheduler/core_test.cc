#include "coordinator/scheduler/core.h"

#include "tests/coordinator/scheduler/core_by_hand.h"

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(CoreTest, WelcomesLoadsAndDecodes) {
  core_ = std::make_unique<Core>(options_, EvenPlanner(kv_blocks_, 4));
  EXPECT_EQ(core_->State().reason, "waiting for 1 of 1 workers");
  EXPECT_EQ(Submit(1, Request({1}, 1)).code(), absl::StatusCode::kUnavailable);
  Step({Join(1)});
  const auto welcome = Take(1);
  EXPECT_EQ(welcome->welcome().worker_id(), 1);
  EXPECT_EQ(welcome->welcome().heartbeat_ms(), 500);
  EXPECT_EQ(welcome->welcome().lease_ms(), 3000);
  TakeLoad(1);
  EXPECT_EQ(core_->State().reason, "loading 0 %");
  Step({LoadDone(1, 1)});
  ASSERT_TRUE(core_->ready());
  ASSERT_TRUE(Submit(2, Request({1, 2, 3}, 4)).ok());
  for (int i = 0; i < 4; ++i) Step({Compute(1)});
  EXPECT_EQ(Ids(replies_[2]), model_.Answer({1, 2, 3}, 4, {}));
  EXPECT_EQ(replies_[2].finish, FinishReason::kLength);
  const EngineState state = core_->State();
  EXPECT_EQ(state.requests_total, 1);
  EXPECT_EQ(state.prompt_tokens_total, 3);
  EXPECT_EQ(state.generated_tokens_total, 4);
  EXPECT_EQ(state.steps_total, 4);
  EXPECT_EQ(state.kv_blocks_free, 100);
  EXPECT_EQ(state.workers[0].busy_us, 40);
}

// Time before the plan was ready does not count, and a new plan starts at nothing.
TEST_F(CoreTest, TellsHowWorkersSpendTheirTime) {
  MakeReady(2);
  EXPECT_EQ(core_->State().workers[0].since_ready.seconds, 0);
  ASSERT_TRUE(Submit(1, Request({1, 2, 3}, 2)).ok());
  const auto answer = [&](int64_t id, int64_t compute_us, int64_t wait_us) {
    WorkerSaid event = Compute(id);
    event.message.mutable_step_result()->set_compute_us(compute_us);
    event.message.mutable_step_result()->set_wait_us(wait_us);
    return event;
  };
  Step({answer(1, 500'000, 0)});
  Step({answer(2, 250'000, 500'000)});
  now_ += absl::Seconds(1);
  Step({Beat(1), Beat(2)});
  const EngineState state = core_->State();
  EXPECT_DOUBLE_EQ(state.workers[0].since_ready.busy * state.workers[0].since_ready.seconds, 0.5);
  EXPECT_DOUBLE_EQ(state.workers[1].recent.busy * state.workers[1].recent.seconds, 0.25);
  EXPECT_DOUBLE_EQ(state.workers[1].recent.wait * state.workers[1].recent.seconds, 0.5);
  EXPECT_NEAR(state.workers[0].since_ready.seconds, 1, 0.1);
  Step({WorkerLost{.worker_id = 1, .reason = "gone"}});
  EXPECT_EQ(core_->State().workers[0].since_ready.seconds, 0);
  EXPECT_EQ(core_->State().workers[0].busy_us, 0);
}

TEST_F(CoreTest, EveryStageGetsTheStepAndOnlyTheLastAnswers) {
  MakeReady(3);
  ASSERT_TRUE(Submit(1, Request({1, 2, 3}, 2)).ok());
  for (int token = 0; token < 2; ++token) {
    EXPECT_THAT(Step({Compute(1)}).updates, IsEmpty());
    EXPECT_THAT(Step({Compute(2)}).updates, IsEmpty());
    EXPECT_THAT(Step({Compute(3)}).updates, SizeIs(1));
  }
  EXPECT_EQ(Ids(replies_[1]), model_.Answer({1, 2, 3}, 2, {}));
}

// Of 50 tokens, 0 to 9 spell themselves, but 7 ends an answer; all others are "x".
grammar::Constraint DigitConstraint(const std::string& gbnf) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  for (int id = 0; id < 50; ++id) vocabulary.tokens.push_back(id < 10 ? absl::StrCat(id) : "x");
  vocabulary.end_of_generation = {7};
  const auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  return {.grammar = *grammar::Grammar::Compile({.gbnf = gbnf}),
          .tokens = std::make_shared<const grammar::TokenTrie>(*grammar::TokenTrie::Create(**tokenizer))};
}

TEST_F(CoreTest, ConstrainedAnswersKeepTheirFormBesideFreeOnes) {
  for (const int stages : {1, 2}) {
    replies_.clear();
    sent_.clear();
    MakeReady(stages);
    for (const auto& [id, gbnf] : {std::pair(1, "root ::= [3-5]{4}"), std::pair(2, "root ::= \"6\" \"8\"{2,} \"9\"")}) {
      GenerateRequest request = Request({1, 2, id}, 40);
      request.ignore_end = false;
      request.constraint = DigitConstraint(gbnf);
      request.top_logprobs = 3;
      request.sampling.temperature = id == 1 ? 0 : 1;
      ASSERT_TRUE(Submit(id, request).ok());
    }
    ASSERT_TRUE(Submit(3, Request({9, 9, 9}, 6)).ok());
    for (int i = 0; i < 300 && core_->steps_in_flight() > 0; ++i) {
      const int64_t worker = 1 + i % stages;
      if (!sent_[worker].empty()) Step({Compute(worker)});
    }
    ASSERT_THAT(Ids(replies_[1]), SizeIs(4));
    for (const int32_t id : Ids(replies_[1])) EXPECT_TRUE(id >= 3 && id <= 5) << id;
    EXPECT_EQ(replies_[1].finish, FinishReason::kEnd);
    const std::vector<int32_t> eights = Ids(replies_[2]);
    ASSERT_GE(eights.size(), 4u);
    EXPECT_EQ(eights.front(), 6);
    EXPECT_EQ(replies_[2].tokens[0].top.size(), 1u);  // Nothing else was allowed.
    EXPECT_EQ(replies_[2].finish, eights.back() == 9 ? FinishReason::kEnd : FinishReason::kLength);
    EXPECT_EQ(Ids(replies_[3]), model_.Answer({9, 9, 9}, 6, {}));
  }
}

TEST_F(CoreTest, RefusesConstraintsThatCannotBegin) {
  MakeReady(1);
  GenerateRequest request = Request({1}, 4);
  request.constraint = DigitConstraint("root ::= [0-9]");
  EXPECT_THAT(std::string(Submit(1, request).message()), HasSubstr("ignore_eos"));
  request.ignore_end = false;
  EXPECT_TRUE(Submit(2, request).ok());
  request.constraint = DigitConstraint("root ::= \"y\"");
  EXPECT_THAT(std::string(Submit(3, request).message()), HasSubstr("no token of this model's vocabulary fits"));
  request.constraint = DigitConstraint("root ::= \"\"");
  EXPECT_THAT(std::string(Submit(4, request).message()), HasSubstr("no answer but an empty one"));
}

TEST_F(CoreTest, TellsOfStepsAndOfWaits) {
  options_.running_max = 1;
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1, 2, 3}, 1)).ok());
  ASSERT_TRUE(Submit(2, Request({1}, 1)).ok());
  ASSERT_TRUE(Submit(3, Request({1}, 1)).ok());
  Step({RequestCancelled{3}});  // It never had a step.
  Step({}, absl::Seconds(3));
  Step({Compute(1)});
  Step({Compute(1)});
  const EngineState state = core_->State();
  EXPECT_EQ(state.step_rows.count, 2);
  EXPECT_EQ(state.step_rows.sum, 4);
  EXPECT_EQ(state.queue_wait_seconds.count, 2);
  EXPECT_EQ(state.queue_wait_seconds.sum, 3);
}

TEST_F(CoreTest, ScoresAPrompt) {
  MakeReady(1);
  GenerateRequest request = Request({1, 2, 3, 4, 5}, 0);
  request.score_from = 3;
  request.score_top_logprobs = 2;
  ASSERT_TRUE(Submit(1, request).ok());
  Step({Compute(1)});
  EXPECT_EQ(replies_[1].finish, FinishReason::kLength);
  ASSERT_THAT(replies_[1].prompt_scores, SizeIs(2));
  uint64_t hash = 0;
  for (int32_t token : {1, 2, 3}) hash = FakeModel::Extend(hash, token);
  EXPECT_EQ(replies_[1].prompt_scores[0].index, 3);
  EXPECT_EQ(replies_[1].prompt_scores[0].id, 4);
  EXPECT_DOUBLE_EQ(replies_[1].prompt_scores[0].logprob, model_.Logit(hash, 4) - model_.LogSumExp());
  EXPECT_EQ(replies_[1].prompt_scores[1].index, 4);
  EXPECT_THAT(replies_[1].prompt_scores[0].top, SizeIs(2));
}

TEST_F(CoreTest, FullLogitsComeWithEachToken) {
  MakeReady(1);
  GenerateRequest request = Request({1, 2}, 1);
  request.full_logits = true;
  request.top_logprobs = 3;
  ASSERT_TRUE(Submit(1, request).ok());
  Step({Compute(1)});
  ASSERT_THAT(replies_[1].tokens, SizeIs(1));
  EXPECT_THAT(replies_[1].tokens[0].full_logits, SizeIs(50));
  EXPECT_THAT(replies_[1].tokens[0].top, SizeIs(3));
  EXPECT_FLOAT_EQ(replies_[1].tokens[0].logprob, static_cast<float>(5 - model_.LogSumExp()));
}

TEST_F(CoreTest, CancelEndsAtOnceAndKeepsBlocksUntilTheStepsReturn) {
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  ASSERT_TRUE(Submit(2, Request({2}, 8)).ok());
  const Actions actions = Step({RequestCancelled{1}, RequestCancelled{1}, RequestCancelled{99}});
  ASSERT_THAT(actions.updates, SizeIs(1));
  EXPECT_EQ(actions.updates[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(core_->State().kv_blocks_free, 98);
  Step({Compute(1)});
  EXPECT_EQ(core_->State().kv_blocks_free, 98) << "a step that follows has a row of it";
  Step({Compute(1)});
  EXPECT_EQ(core_->State().kv_blocks_free, 99);
  EXPECT_THAT(sent_[1].front()->step().released_sequences(), ElementsAre(1));
  while (replies_[2].finish == FinishReason::kNone) Step({Compute(1)});
  EXPECT_EQ(Ids(replies_[2]), model_.Answer({2}, 8, {}));
}

TEST_F(CoreTest, AGreedyStepIsFollowedBeforeItsTokensAreKnown) {
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1, 2, 3}, 4)).ok());
  EXPECT_EQ(core_->steps_in_flight(), 2);
  EXPECT_FALSE(sent_[1][0]->step().sequences(0).takes_best());
  EXPECT_TRUE(sent_[1][1]->step().sequences(0).takes_best());
  EXPECT_EQ(sent_[1][1]->step().sequences(0).first_position(), 3);
  // Another request is computed when the step that follows is over, with the first one's next token.
  ASSERT_TRUE(Submit(2, Request({7}, 2)).ok());
  Step({Compute(1)});
  EXPECT_EQ(core_->steps_in_flight(), 1);
  Step({Compute(1)});
  EXPECT_EQ(sent_[1].front()->step().sequences_size(), 2);
  while (replies_[1].finish == FinishReason::kNone || replies_[2].finish == FinishReason::kNone) Step({Compute(1)});
  EXPECT_EQ(Ids(replies_[1]), model_.Answer({1, 2, 3}, 4, {}));
  EXPECT_EQ(Ids(replies_[2]), model_.Answer({7}, 2, {}));
  EXPECT_EQ(core_->steps_in_flight(), 0) << "nothing follows the last token";
  EXPECT_EQ(core_->State().steps_total, 4);
}

TEST_F(CoreTest, AnAnswerThatEndsVoidsItsRowOfTheStepThatFollows) {
  const std::vector<int32_t> answer = model_.Answer({5, 6}, 8, {});
  options_.end_ids = {answer[1]};
  MakeReady(1);
  GenerateRequest request = Request({5, 6}, 8);
  request.ignore_end = false;
  ASSERT_TRUE(Submit(1, request).ok());
  Step({Compute(1)});
  Step({Compute(1)});
  EXPECT_EQ(replies_[1].finish, FinishReason::kEnd);
  EXPECT_EQ(Ids(replies_[1]), model_.Answer({5, 6}, 8, options_.end_ids));
  EXPECT_EQ(core_->steps_in_flight(), 1);
  EXPECT_LT(core_->State().kv_blocks_free, 100);
  Step({Compute(1)});
  EXPECT_EQ(core_->State().kv_blocks_free, 100);
}

TEST_F(CoreTest, NothingFollowsAStepWhoseTokensAreNotCertain) {
  const std::pair<const char*, std::function<void(GenerateRequest&)>> cases[] = {
      {"drawn from several", [](GenerateRequest& r) { r.sampling.temperature = 1; }},
      {"its alternatives are wanted", [](GenerateRequest& r) { r.top_logprobs = 2; }},
      {"its logits are wanted", [](GenerateRequest& r) { r.full_logits = true; }},
      {"the next edits depend on it", [](GenerateRequest& r) { r.sampling.repetition_penalty = 1.1f; }},
      {"it is the last", [](GenerateRequest& r) { r.max_tokens = 1; }},
  };
  for (const auto& [what, change] : cases) {
    MakeReady(1);
    GenerateRequest request = Request({5, 6}, 8);
    change(request);
    ASSERT_TRUE(Submit(1, request).ok());
    EXPECT_EQ(core_->steps_in_flight(), 1) << what;
    sent_.clear();
  }
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  EXPECT_EQ(core_->steps_in_flight(), 1) << "the first of two stages does not see the token";
}

TEST_F(CoreTest, AWaitingRequestCanBeCancelled) {
  options_.running_max = 1;
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1}, 15)).ok());
  ASSERT_TRUE(Submit(2, Request({1}, 15)).ok());
  Step({RequestCancelled{2}});
  EXPECT_EQ(replies_[2].finish, FinishReason::kCancelled);
  EXPECT_EQ(core_->State().waiting, 0);
}

// What was drawn stays drawn, a prompt's scores are not told twice, and the next plan computes what it knows.
TEST_F(CoreTest, NonsenseCostsTheWorkerItsMembership) {
  const std::pair<const char*, std::function<void(proto::WorkerMessage&)>> cases[] = {
      {"a second Hello", [](auto& m) { m.mutable_hello(); }},
      {"an empty message", [](auto& m) { m.Clear(); }},
      {"epoch 5, the newest is 1", [](auto& m) { m.mutable_step_result()->set_epoch(5); }},
      {"step 2 after step 0", [](auto& m) { m.mutable_step_result()->set_step_id(2); }},
      {"a counter is out of bounds", [](auto& m) { m.mutable_step_result()->set_compute_us(-1); }},
      {"a counter is out of bounds", [](auto& m) { m.mutable_step_result()->set_expert_bytes_read(INT64_MAX); }},
      {"no result for sequence 1", [](auto& m) { m.mutable_step_result()->clear_sequences(); }},
      {"a second LoadResult", [](auto& m) { m.mutable_load_result()->set_epoch(1); }},
  };
  for (const auto& [part_of_message, change] : cases) {
    sent_.clear();
    MakeReady(1);
    ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
    WorkerSaid said = Compute(1);
    change(said.message);
    const Actions actions = Step({said});
    ASSERT_THAT(actions.disconnects, SizeIs(1)) << part_of_message;
    EXPECT_EQ(actions.disconnects[0].reason.code(), absl::StatusCode::kAborted);
    EXPECT_THAT(std::string(actions.disconnects[0].reason.message()), HasSubstr(part_of_message));
    EXPECT_FALSE(core_->ready());
    EXPECT_THAT(Step({said}).disconnects, IsEmpty()) << "its last words are void";
  }
}

TEST_F(CoreTest, ResultsFromAMiddleStageAreNonsense) {
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  WorkerSaid said = Compute(1);
  said.message.mutable_step_result()->add_sequences();
  EXPECT_THAT(Step({said}).disconnects, SizeIs(1));
}

TEST_F(CoreTest, RankZeroAnswersAndTheOthersAcknowledge) {
  MakeReady(2, /*ranks=*/true);
  ASSERT_TRUE(Submit(1, Request({1}, 2)).ok());
  EXPECT_THAT(Step({Compute(2)}).updates, IsEmpty());
  EXPECT_THAT(Step({Compute(1)}).updates, SizeIs(1));
  EXPECT_THAT(Step({Compute(1)}).updates, SizeIs(1));  // The other rank's word is not needed to go on.
  EXPECT_EQ(replies_[1].finish, FinishReason::kLength);
  EXPECT_THAT(Step({Compute(2)}).disconnects, IsEmpty());
  ASSERT_TRUE(Submit(2, Request({1}, 8)).ok());
  WorkerSaid said = Compute(2);
  said.message.mutable_step_result()->add_sequences();
  EXPECT_THAT(Step({said}).disconnects, SizeIs(1));
}

// They wait for one another, so any of them may be the one that hangs.
TEST_F(CoreTest, AnotherVersionMayNotJoin) {
  WorkerJoined joined = Join(1);
  joined.hello.set_version("0.0.0");
  const Actions actions = Step({joined});
  ASSERT_THAT(actions.disconnects, SizeIs(1));
  EXPECT_EQ(actions.disconnects[0].reason.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(core_->State().workers, IsEmpty());
}

TEST_F(CoreTest, ShutdownEndsEverything) {
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  sent_.clear();
  const Actions actions = Step({ShutdownAsked{"bye"}});
  EXPECT_EQ(replies_[1].finish, FinishReason::kError);
  for (const int64_t id : {1, 2}) {
    EXPECT_EQ(Take(id)->end_epoch().epoch(), 1);
    EXPECT_EQ(Take(id)->shutdown().reason(), "bye");
  }
  EXPECT_THAT(actions.disconnects, SizeIs(2));
  EXPECT_TRUE(actions.disconnects[0].reason.ok());
  EXPECT_EQ(Submit(2, Request({1}, 8)).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Step({Join(7)}).disconnects, SizeIs(1));
}

}  // namespace
}  // namespace barn
