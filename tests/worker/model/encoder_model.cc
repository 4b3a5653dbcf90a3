#include "tests/worker/model/encoder_model.h"

#include <fstream>
#include <numeric>
#include <thread>

#include "absl/time/time.h"
#include "kernels/check.h"
#include "sharding/model_config.h"
#include "worker/exchange/in_process_collective.h"

namespace barn {
namespace {

constexpr int64_t kBlockTokens = 8;
constexpr int64_t kBlocksOfSequence = 8;
constexpr int64_t kSequencesMax = 8;

template <class T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  BARN_CHECK(value.ok());
  return *std::move(value);
}

void Must(const absl::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  BARN_CHECK(status.ok());
}

// One slice, by all of its ranks. activations: of the slice before; returns those of this one, or fills in `output`.
std::vector<float> RunSlice(const EncoderModel& model, const EncoderRun& run, int64_t first, int64_t last,
                            std::span<const SequenceStep> steps, int64_t rows, const std::vector<float>& activations,
                            EncoderOutput& output) {
  const bool is_last = last == Must(ReadModelConfig(*model.header)).layers;
  const std::vector<std::unique_ptr<Collective>> collectives = MakeInProcessCollectives(run.ranks);
  std::vector<std::vector<float>> results(static_cast<size_t>(run.ranks));
  std::vector<std::vector<float>> scores(static_cast<size_t>(run.ranks));
  std::vector<int32_t> all(static_cast<size_t>(rows)), firsts;
  std::iota(all.begin(), all.end(), 0);
  for (int32_t row = 0; const SequenceStep& step : steps) {
    firsts.push_back(row);
    row += static_cast<int32_t>(step.tokens.size());
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < run.ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const std::unique_ptr<Device> device =
          run.make_device != nullptr ? run.make_device() : Must(CreateCpuDevice({.threads = 1, .pin = false}));
      SliceOptions options = EncoderSlice(model, *device);
      options.first_layer = first, options.last_layer = last;
      options.is_first = first == 0, options.is_last = is_last;
      options.kv_type = run.kv_type;
      options.rank = rank, options.ranks = run.ranks;
      const std::unique_ptr<Slice> slice = Must(Slice::Create(options));
      std::vector<float>& result = results[static_cast<size_t>(rank)];
      result.resize(static_cast<size_t>(rows * slice->width()));
      StepInput input{.sequences = steps,
                      .activations = activations,
                      .collective = collectives[static_cast<size_t>(rank)].get(),
                      .wait = {.deadline = absl::InfiniteFuture(), .stop = {}}};
      if (!is_last) return Must(slice->Forward(input, result));
      std::vector<float>& score = scores[static_cast<size_t>(rank)];
      if (run.scores) {
        // Their rows count, too.
        score.resize(firsts.size());
        input.score_rows = firsts;
        input.scores = score;
        Must(slice->ForwardToLogits(input, {}, [](int64_t, Tensor) {}));
        input.score_rows = {};
        input.scores = {};
      }
      input.hidden_rows = all;
      input.hidden = result;
      Must(slice->ForwardToLogits(input, {}, [](int64_t, Tensor) {}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int rank = 1; rank < run.ranks; ++rank) {
    BARN_CHECK(results[static_cast<size_t>(rank)] == results[0] && scores[static_cast<size_t>(rank)] == scores[0]);
  }
  output.scores = scores[0];
  return results[0];
}

}  // namespace

std::vector<std::string> EncoderNames() {
  return {"bert", "bert-reranker", "gemma-embedding", "jina-bert-v2", "modern-bert", "nomic-bert"};
}

EncoderModel LoadEncoder(const std::string& name) {
  const std::string base = BARN_BINARY_DIR "/encoders/" + name;
  EncoderModel model;
  model.name = name;
  model.header = Must(GgufModel::Open(base + ".gguf"));
  model.weights = std::make_unique<MappedWeights>(model.header->parts());
  std::ifstream file(base + ".json");
  const nlohmann::json facts = nlohmann::json::parse(file);
  for (const nlohmann::json& one : facts.at("cases")) {
    model.cases.push_back({.ids = one.at("ids").get<std::vector<int32_t>>(),
                           .hidden = one.at("hidden").get<std::vector<float>>(),
                           .score = one.value("score", 0.0f)});
  }
  BARN_CHECK(model.cases.size() >= 6);
  return model;
}

SliceOptions EncoderSlice(const EncoderModel& model, Device& device) {
  return {.model = model.header.get(),
          .weights = model.weights.get(),
          .device = &device,
          .first_layer = 0,
          .last_layer = Must(ReadModelConfig(*model.header)).layers,
          .kv_blocks = kBlocksOfSequence * kSequencesMax,
          .kv_block_tokens = kBlockTokens,
          .kv_type = KvType::kF32,
          .step_tokens_max = kBlockTokens * kBlocksOfSequence * kSequencesMax};
}

EncoderOutput RunEncoder(const EncoderModel& model, const EncoderRun& run,
                         const std::vector<std::vector<int32_t>>& sequences) {
  std::vector<std::vector<int32_t>> blocks;
  std::vector<SequenceStep> steps;
  int64_t rows = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    // Any order of blocks must do.
    std::vector<int32_t>& table = blocks.emplace_back();
    for (int64_t b = 0; b < kBlocksOfSequence; ++b) {
      table.push_back(static_cast<int32_t>((b * 5 + 3) % kBlocksOfSequence * kSequencesMax + static_cast<int64_t>(s)));
    }
    rows += static_cast<int64_t>(sequences[s].size());
  }
  for (size_t s = 0; s < sequences.size(); ++s) {
    steps.push_back({.first_position = 0, .tokens = sequences[s], .blocks = blocks[s]});
  }
  EncoderOutput output;
  const int64_t layers = Must(ReadModelConfig(*model.header)).layers;
  std::vector<float> values;
  if (run.cut > 0) values = RunSlice(model, run, 0, run.cut, steps, rows, {}, output);
  values = RunSlice(model, run, run.cut, layers, steps, rows, values, output);
  const auto width = static_cast<int64_t>(values.size()) / rows;
  auto at = values.begin();
  for (const std::vector<int32_t>& sequence : sequences) {
    const auto end = at + static_cast<int64_t>(sequence.size()) * width;
    output.hidden.emplace_back(at, end);
    at = end;
  }
  return output;
}

}  // namespace barn
