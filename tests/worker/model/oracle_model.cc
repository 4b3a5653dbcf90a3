#include "tests/worker/model/oracle_model.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "kernels/check.h"
#include "sharding/model_config.h"
#include "worker/exchange/in_process_collective.h"

namespace barn {
namespace {

constexpr int64_t kBlockTokens = 8;
constexpr int64_t kBlocks = 64;

std::string Folder() { return BARN_SOURCE_DIR "/../shared/oracles/arch/"; }

// A failure here is a broken test set-up; the message must be seen.
template <class T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  }
  BARN_CHECK(value.ok());
  return *std::move(value);
}

void Must(const absl::Status& status) {
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  }
  BARN_CHECK(status.ok());
}

}  // namespace

bool OracleModel::uses_gelu() const {
  const std::string architecture = facts.at("architecture");
  return architecture == "gemma2" || architecture == "gemma3" || architecture == "starcoder2";
}

std::vector<float> OracleModel::F32Tensor(const std::string& tensor) const {
  const GgufTensor* found = header->FindTensor(tensor);
  if (found == nullptr) {
    return {};
  }
  const std::span<const std::byte> bytes = Must(weights->Tensor(*found));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<std::string> OracleNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
    if (entry.path().extension() == ".gguf") {
      names.push_back(entry.path().stem());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

OracleModel LoadOracle(const std::string& name) {
  OracleModel model;
  model.name = name;
  std::ifstream json(Folder() + name + ".json");
  model.facts = nlohmann::json::parse(json);
  model.header = Must(GgufModel::Open(Folder() + name + ".gguf"));
  model.weights = std::make_unique<MappedWeights>(model.header->parts());
  return model;
}

std::string OracleTestName(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

LogitRows OracleLogits(const std::string& name, const std::string& suffix) {
  constexpr int kRows = 3;
  constexpr int kVocabulary = 320;
  std::ifstream file(Folder() + name + "." + suffix, std::ios::binary);
  LogitRows rows(kRows, std::vector<float>(kVocabulary));
  for (auto& row : rows) {
    file.read(reinterpret_cast<char*>(row.data()), kVocabulary * sizeof(float));
  }
  BARN_CHECK(file.good());
  return rows;
}

Device* Pipeline::HostDevice(const PipelineOptions& options) {
  if (options.host_expert_layers == 0) return nullptr;
  if (host_device_ == nullptr) {
    host_device_ = Must(CreateCpuDevice({.threads = 1, .activations = options.activations, .pin = false}));
  }
  return host_device_.get();
}

Pipeline::Pipeline(const OracleModel& model, const PipelineOptions& options) : ranks_(options.ranks) {
  const int64_t layers = Must(ReadModelConfig(*model.header)).layers;
  std::vector<int64_t> edges = {0};
  edges.insert(edges.end(), options.cuts.begin(), options.cuts.end());
  edges.push_back(layers);
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    for (int rank = 0; rank < ranks_; ++rank) {
      std::unique_ptr<Device> device =
          options.make_device != nullptr ? options.make_device(i * ranks_ + rank) : nullptr;
      if (device == nullptr) {
        device = Must(CreateCpuDevice({.threads = options.threads, .activations = options.activations, .pin = false}));
      }
      devices_.push_back(std::move(device));
      slices_.push_back(
          Must(Slice::Create({.model = model.header.get(),
                              .weights = options.weights != nullptr ? options.weights : model.weights.get(),
                              .device = devices_.back().get(),
                              .first_layer = edges[i],
                              .last_layer = edges[i + 1],
                              .is_first = edges[i] == 0,
                              .is_last = edges[i + 1] == layers,
                              .kv_blocks = kBlocks,
                              .kv_block_tokens = kBlockTokens,
                              .kv_type = options.kv_type,
                              .step_tokens_max = 64,
                              .host_device = HostDevice(options),
                              .host_expert_layers = std::min(options.host_expert_layers, edges[i + 1] - edges[i]),
                              .context_tokens = options.context_tokens,
                              .rank = rank,
                              .ranks = ranks_})));
    }
    JoinRanks(options);
  }
  // Any order of blocks must do: 1, 8, 15, ... instead of 0, 1, 2.
  blocks_.resize(kBlocks);
  for (int64_t i = 0; i < kBlocks; ++i) {
    blocks_[i] = static_cast<int32_t>((7 * i + 1) % kBlocks);
  }
}

// Those of the slice that was made last.
void Pipeline::JoinRanks(const PipelineOptions& options) {
  std::vector<Device*> devices;
  for (int rank = ranks_; rank > 0; --rank) devices.push_back(devices_[devices_.size() - rank].get());
  auto joined = options.join_ranks != nullptr ? options.join_ranks(devices) : MakeInProcessCollectives(ranks_);
  for (auto& collective : joined) collectives_.push_back(std::move(collective));
  BARN_CHECK(collectives_.size() == devices_.size());
}

void Pipeline::Restart() {
  position_ = 0;
  std::rotate(blocks_.begin(), blocks_.begin() + 5, blocks_.end());
}

void Pipeline::LoadAdapter(int64_t id, const Adapter& adapter) {
  for (const std::unique_ptr<Slice>& slice : slices_) {
    const std::unique_ptr<AdapterPart> part = Must(ReadAdapterPart(adapter, slice->adapter_targets()));
    while (!Must(slice->AddAdapter(id, *part, /*bytes_max=*/10000))) {
    }
  }
}

void Pipeline::RemoveAdapter(int64_t id) {
  for (const std::unique_ptr<Slice>& slice : slices_) slice->RemoveAdapter(id);
}

void Pipeline::EveryRank(size_t slice, const std::function<void(int rank, Slice&, Collective*)>& run) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks_; ++rank) {
    const size_t index = slice * ranks_ + rank;
    threads.emplace_back([&, rank, index] { run(rank, *slices_[index], collectives_[index].get()); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::vector<float> Pipeline::Forward(size_t slice, const StepInput& input, int64_t rows) {
  std::vector<std::vector<float>> out(ranks_);
  EveryRank(slice, [&](int rank, Slice& one, Collective* collective) {
    out[rank].resize(rows * one.width());
    StepInput mine = input;
    mine.collective = collective;
    Must(one.Forward(mine, out[rank]));
  });
  for (const std::vector<float>& others : out) {
    BARN_CHECK(others == out[0]);
  }
  return out[0];
}

LogitRows Pipeline::ForwardToLogits(const StepInput& input, std::span<const int32_t> logit_rows) {
  std::vector<LogitRows> out(ranks_);
  EveryRank(slices() - 1, [&](int rank, Slice& one, Collective* collective) {
    StepInput mine = input;
    mine.collective = collective;
    LogitRows& rows = out[rank];
    Must(one.ForwardToLogits(mine, logit_rows, [&](int64_t first, Tensor logits) {
      BARN_CHECK(first == static_cast<int64_t>(rows.size()));
      BARN_CHECK(logits.rows <= kLogitRowsMax);
      for (int64_t r = 0; r < logits.rows; ++r) {
        rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
      }
    }));
  });
  for (const LogitRows& others : out) {
    BARN_CHECK(others == out[0]);
  }
  return out[0];
}

LogitRows Pipeline::Feed(std::span<const int32_t> tokens, std::span<const int32_t> logit_rows) {
  const SequenceStep sequence{.first_position = position_, .tokens = tokens, .blocks = blocks_, .adapters = adapters_};
  std::vector<float> activations;
  for (size_t i = 0; i + 1 < slices(); ++i) {
    activations =
        Forward(i, {.sequences = {&sequence, 1}, .activations = activations}, static_cast<int64_t>(tokens.size()));
  }
  LogitRows rows = ForwardToLogits({.sequences = {&sequence, 1}, .activations = activations}, logit_rows);
  BARN_CHECK(rows.size() == logit_rows.size());
  position_ += static_cast<int64_t>(tokens.size());
  return rows;
}

std::vector<float> Pipeline::FeedForLast(std::span<const int32_t> tokens) {
  const int32_t last[] = {static_cast<int32_t>(tokens.size()) - 1};
  return Feed(tokens, last).front();
}

std::vector<int32_t> Pipeline::Greedy(std::span<const int32_t> prompt, int count, std::vector<float>* gaps) {
  Restart();
  std::vector<float> logits = FeedForLast(prompt);
  std::vector<int32_t> ids;
  while (true) {
    ids.push_back(ArgMax(logits));
    const float best = logits[ids.back()];
    logits[ids.back()] = -INFINITY;
    gaps->push_back(best - *std::max_element(logits.begin(), logits.end()));
    if (static_cast<int>(ids.size()) == count) {
      return ids;
    }
    logits = FeedForLast({&ids.back(), 1});
  }
}

int32_t ArgMax(std::span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

float MaxAbsDifference(std::span<const float> a, std::span<const float> b) {
  BARN_CHECK(a.size() == b.size());
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    largest = difference <= largest ? largest : difference;  // A NaN stays.
  }
  return largest;
}

}  // namespace barn
