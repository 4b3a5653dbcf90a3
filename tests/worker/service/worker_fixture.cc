#include "tests/worker/service/worker_fixture.h"

#include <cstring>

#include "kernels/device.h"
#include "sharding/gguf.h"
#include "worker/memory/mapped_weights.h"
#include "worker/model/slice.h"

namespace barn {
namespace {

constexpr int64_t kKvBlocks = 16;
constexpr int64_t kKvBlockTokens = 4;
constexpr int64_t kStepTokensMax = 32;

int64_t BlocksFor(int64_t positions) { return (positions + kKvBlockTokens - 1) / kKvBlockTokens; }
int32_t BlockAt(int64_t index) { return static_cast<int32_t>(kKvBlocks - 1 - index); }

}  // namespace

std::string OracleModelPath() { return std::string(BARN_SOURCE_DIR) + kOracleModel; }

RunningWorker::RunningWorker(WorkerOptions options) {
  auto worker = Worker::Create(std::move(options));
  EXPECT_TRUE(worker.ok()) << worker.status();
  if (worker.ok()) {
    worker_ = *std::move(worker);
    thread_ = std::thread([this] { status_ = worker_->Run(); });
  }
}

RunningWorker::~RunningWorker() { End().IgnoreError(); }

absl::Status RunningWorker::End() {
  if (worker_ != nullptr) worker_->Stop();
  return AwaitEnd();
}

absl::Status RunningWorker::AwaitEnd() {
  if (worker_ != nullptr) {
    thread_.join();
    worker_.reset();
  }
  return status_;
}

WorkerOptions TestWorkerOptions(const FakeCoordinator& coordinator) {
  WorkerOptions options;
  options.join_address = coordinator.address();
  options.token = FakeCoordinator::kToken;
  options.memory_bytes = 1 << 30;
  options.threads = 1;
  options.pin_threads = false;
  options.reconnect_backoff_max = absl::Milliseconds(200);
  return options;
}

proto::CoordinatorMessage LoadMessage(const LoadShape& shape) {
  proto::CoordinatorMessage message;
  proto::LoadRequest& load = *message.mutable_load();
  load.set_epoch(shape.epoch);
  load.add_parts(shape.model);
  load.set_stage(shape.stage);
  load.set_stages(shape.stages);
  load.set_first_layer(shape.first_layer);
  load.set_last_layer(shape.last_layer);
  load.set_kv_blocks(kKvBlocks);
  load.set_kv_block_tokens(kKvBlockTokens);
  load.set_kv_type("f32");
  load.set_step_tokens_max(kStepTokensMax);
  load.set_context_tokens(kKvBlocks * kKvBlockTokens);
  load.set_next_exchange_address(shape.next_address);
  load.set_exchange_token("exchange-token");
  load.set_deployment(shape.deployment);
  return message;
}

proto::CoordinatorMessage StepMessage(int64_t epoch, int64_t step_id, int64_t first_position,
                                      std::span<const int32_t> tokens) {
  proto::CoordinatorMessage message;
  proto::StepRequest& step = *message.mutable_step();
  step.set_epoch(epoch);
  step.set_step_id(step_id);
  proto::StepSequence& sequence = *step.add_sequences();
  sequence.set_sequence_id(1);
  sequence.set_first_position(first_position);
  sequence.set_rows(static_cast<int32_t>(tokens.size()));
  sequence.mutable_tokens()->Add(tokens.begin(), tokens.end());
  const int64_t known = BlocksFor(first_position);
  sequence.set_block_offset(static_cast<int32_t>(known));
  for (int64_t i = known; i < BlocksFor(first_position + static_cast<int64_t>(tokens.size())); ++i) {
    sequence.add_new_blocks(BlockAt(i));
  }
  sequence.set_want_full_logits(true);
  sequence.set_want_candidates(true);
  sequence.set_candidates(5);
  return message;
}

proto::CoordinatorMessage FollowingStepMessage(int64_t epoch, int64_t step_id, int64_t position) {
  const int32_t unknown[] = {0};
  proto::CoordinatorMessage message = StepMessage(epoch, step_id, position, unknown);
  message.mutable_step()->mutable_sequences(0)->clear_tokens();
  message.mutable_step()->mutable_sequences(0)->set_takes_best(true);
  return message;
}

std::vector<std::vector<float>> SliceLogits(const std::vector<std::vector<int32_t>>& chunks, const Adapter* adapter,
                                            float scale) {
  const auto model = *GgufModel::Open(OracleModelPath());
  MappedWeights weights(model->parts());
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  SliceOptions options;
  options.model = model.get();
  options.weights = &weights;
  options.device = device.get();
  options.last_layer = kOracleLayers;
  options.kv_blocks = kKvBlocks;
  options.kv_block_tokens = kKvBlockTokens;
  options.kv_type = KvType::kF32;
  options.step_tokens_max = kStepTokensMax;
  options.context_tokens = kKvBlocks * kKvBlockTokens;
  const auto slice = *Slice::Create(options);
  std::vector<AdapterScale> uses;
  if (adapter != nullptr) {
    EXPECT_TRUE(*slice->AddAdapter(1, **ReadAdapterPart(*adapter, slice->adapter_targets()), INT64_MAX));
    uses.push_back({.id = 1, .scale = scale});
  }
  std::vector<int32_t> blocks(kKvBlocks);
  for (int64_t i = 0; i < kKvBlocks; ++i) {
    blocks[i] = BlockAt(i);
  }
  std::vector<std::vector<float>> logits;
  int64_t position = 0;
  for (const std::vector<int32_t>& tokens : chunks) {
    const SequenceStep sequence{.first_position = position, .tokens = tokens, .blocks = blocks, .adapters = uses};
    const int32_t last = static_cast<int32_t>(tokens.size()) - 1;
    const absl::Status status = slice->ForwardToLogits(
        {.sequences = {&sequence, 1}, .activations = {}}, {&last, 1},
        [&](int64_t, Tensor rows) { logits.emplace_back(rows.row(0), rows.row(0) + rows.cols); });
    EXPECT_TRUE(status.ok()) << status;
    position += static_cast<int64_t>(tokens.size());
  }
  return logits;
}

std::vector<float> FullLogits(const proto::SequenceResult& result) {
  std::vector<float> logits(result.full_logits().size() / sizeof(float));
  std::memcpy(logits.data(), result.full_logits().data(), logits.size() * sizeof(float));
  return logits;
}

void LoadTwoStages(FakeCoordinator::Peer& first, FakeCoordinator::Peer& last, int64_t epoch, int64_t cut,
                   const std::string& model, int64_t deployment) {
  first.Send(LoadMessage({.epoch = epoch,
                          .stage = 0,
                          .stages = 2,
                          .last_layer = cut,
                          .next_address = last.hello().exchange_address(),
                          .model = model,
                          .deployment = deployment}));
  last.Send(LoadMessage(
      {.epoch = epoch, .stage = 1, .stages = 2, .first_layer = cut, .model = model, .deployment = deployment}));
  for (FakeCoordinator::Peer* peer : {&first, &last}) {
    const auto result = peer->NextLoadResult();
    ASSERT_TRUE(result.has_value());
    ASSERT_EQ(result->code(), 0) << result->error();
    ASSERT_EQ(result->epoch(), epoch);
  }
}

}  // namespace barn
