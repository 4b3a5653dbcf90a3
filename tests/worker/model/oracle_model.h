#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "nlohmann/json.hpp"
#include "sharding/gguf.h"
#include "worker/memory/mapped_weights.h"
#include "worker/model/slice.h"

namespace barn {

// One of the tiny models of oracles/arch and what the reference said about it.
struct OracleModel {
  std::string name;
  nlohmann::json facts;
  std::unique_ptr<GgufModel> header;
  std::unique_ptr<MappedWeights> weights;

  std::vector<int32_t> Ids(const char* key) const { return facts.at(key).get<std::vector<int32_t>>(); }
  bool quantized() const { return !facts.at("dequantized_reference").is_null(); }
  // Facts of the run in F32 arithmetic throughout.
  const nlohmann::json& exact() const { return quantized() ? facts.at("dequantized_reference") : facts; }
  std::vector<float> F32Tensor(const std::string& tensor) const;  // Empty: the file has none of this name.
  // GELU of the reference goes through a table of halves.
  bool uses_gelu() const;
};

// Every model of the folder, sorted.
std::vector<std::string> OracleNames();
OracleModel LoadOracle(const std::string& name);
// The model's name as a part of a test's name.
std::string OracleTestName(std::string name);

using LogitRows = std::vector<std::vector<float>>;

// [3, V] of NAME.<suffix>.
LogitRows OracleLogits(const std::string& name, const std::string& suffix);

struct PipelineOptions {
  ActivationMode activations = ActivationMode::kF32;
  KvType kv_type = KvType::kF32;
  std::vector<int64_t> cuts = {};  // First layers of the second and later slices.
  int64_t context_tokens = 256;
  int threads = 1;
  int ranks = 1;                   // Of every slice, each on a thread of its own.
  int64_t host_expert_layers = 0;  // Of every slice, on a CPU device beside its own; at most as many as it has.
  // For a slice of this index, counting the ranks of each. Null: a CPU device.
  std::function<std::unique_ptr<Device>(size_t slice)> make_device = nullptr;
  // What joins the ranks of a slice. Null: this process's memory.
  std::function<std::vector<std::unique_ptr<Collective>>(std::span<Device* const>)> join_ranks = nullptr;
  WeightSource* weights = nullptr;  // Null: the model's own.
};

// Slices of one model in a row, as a cluster would run them, for one sequence.
class Pipeline {
 public:
  Pipeline(const OracleModel& model, const PipelineOptions& options);

  // Feeds tokens behind those already seen; logits of the rows asked for (indices in tokens).
  LogitRows Feed(std::span<const int32_t> tokens, std::span<const int32_t> logit_rows);
  // On every slice and rank.
  void LoadAdapter(int64_t id, const Adapter& adapter);
  void RemoveAdapter(int64_t id);
  // Of all tokens fed from now on.
  void UseAdapters(std::vector<AdapterScale> adapters) { adapters_ = std::move(adapters); }

  // Forgets the sequence; the next one gets other blocks.
  void Restart();
  // The logits of the last of tokens.
  std::vector<float> FeedForLast(std::span<const int32_t> tokens);
  // `count` tokens that follow `prompt`, each with the largest logit; *gaps: distance to the second best.
  std::vector<int32_t> Greedy(std::span<const int32_t> prompt, int count, std::vector<float>* gaps);

  Slice& slice(size_t index) { return *slices_[index]; }
  size_t slices() const { return slices_.size() / ranks_; }
  // With ranks, those of the slices one after the other.
  const Device& device(size_t index) const { return *devices_[index]; }
  const Device& host_device() const { return *host_device_; }

 private:
  Device* HostDevice(const PipelineOptions& options);
  std::vector<float> Forward(size_t slice, const StepInput& input, int64_t rows);
  LogitRows ForwardToLogits(const StepInput& input, std::span<const int32_t> logit_rows);
  // Calls run(slice, its collective) for every rank of a slice, each on a thread.
  void JoinRanks(const PipelineOptions& options);
  void EveryRank(size_t slice, const std::function<void(int rank, Slice&, Collective*)>& run);

  const int ranks_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<Device> host_device_;
  std::vector<std::unique_ptr<Collective>> collectives_;  // As slices_; null for one rank.
  std::vector<std::unique_ptr<Slice>> slices_;            // Ranks of the first slice, then those of the second.
  std::vector<int32_t> blocks_;
  std::vector<AdapterScale> adapters_;
  int64_t position_ = 0;
};

int32_t ArgMax(std::span<const float> values);
float MaxAbsDifference(std::span<const float> a, std::span<const float> b);

}  // namespace barn
