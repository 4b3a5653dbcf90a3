#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sharding/adapter.h"
#include "tests/worker/model/oracle_model.h"
#include "worker/memory/weights.h"

namespace barn {

// An adapter made up for a test, in plain numbers: what is added to tensor T of the model is alpha / rank * B A.
struct RandomAdapter {
  struct Pair {
    std::string tensor;
    int64_t rows = 0, cols = 0;  // Of the model's tensor; the embedding's rows are looked up.
    std::vector<float> a = {};   // [rank, cols]
    std::vector<float> b = {};   // [rows, rank]
  };
  std::string architecture;
  int64_t rank = 0;
  float alpha = 0;
  std::vector<Pair> pairs = {};

  // As GGUF has it.
  std::string Gguf() const;
  std::unique_ptr<Adapter> Read(const GgufModel& base) const;
  // scale * alpha / rank * B A of a tensor, [rows, cols]; empty: it has none.
  std::vector<double> Delta(const std::string& tensor, double scale) const;
};

// For the tensors of which `wanted` is true (matrices only), with changes as large as a third of the weights.
RandomAdapter MakeAdapter(const OracleModel& model, const std::function<bool(const GgufTensor&)>& wanted, int64_t rank,
                          float alpha, uint32_t seed);

// The weights of a model of F32 tensors with adapters merged into them.
class MergedWeights : public WeightSource {
 public:
  MergedWeights(OracleModel& model, std::vector<std::pair<RandomAdapter, double>> adapters)
      : model_(model), adapters_(std::move(adapters)) {}

  absl::StatusOr<std::span<const std::byte>> Tensor(const GgufTensor& tensor) override;
  void Drop(const GgufTensor&, int64_t, int64_t) override {}

 private:
  OracleModel& model_;
  const std::vector<std::pair<RandomAdapter, double>> adapters_;
  std::map<std::string, std::vector<float>> merged_;
};

}  // namespace barn
