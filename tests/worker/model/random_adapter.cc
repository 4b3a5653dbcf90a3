#include "tests/worker/model/random_adapter.h"

#include <cmath>
#include <cstring>
#include <random>

#include "kernels/check.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

std::vector<float> Transposed(const std::vector<float>& x, int64_t rows, int64_t cols) {
  std::vector<float> out(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) out[c * rows + r] = x[r * cols + c];
  }
  return out;
}

}  // namespace

std::string RandomAdapter::Gguf() const {
  GgufFile file;
  file.metadata = {KvString("general.type", "adapter"), KvString("adapter.type", "lora"),
                   KvString("general.architecture", architecture), KvF32("adapter.lora.alpha", alpha)};
  std::string data;
  const auto add = [&](const std::string& name, uint64_t cols, uint64_t rows, const std::vector<float>& values) {
    file.tensors.push_back(TensorInfo(name, {cols, rows}, 0, data.size()));
    data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    data.resize((data.size() + 31) / 32 * 32);
  };
  const auto size = [](int64_t value) { return static_cast<uint64_t>(value); };
  for (const Pair& pair : pairs) {
    if (pair.tensor == kTokenEmbedding) {
      // W = scale * (B A)^T there: B has the columns of the table, A a column for each of its rows.
      add(pair.tensor + ".lora_a", size(rank), size(pair.rows), pair.b);
      add(pair.tensor + ".lora_b", size(rank), size(pair.cols), Transposed(pair.a, rank, pair.cols));
    } else {
      add(pair.tensor + ".lora_a", size(pair.cols), size(rank), pair.a);
      add(pair.tensor + ".lora_b", size(rank), size(pair.rows), pair.b);
    }
  }
  file.data_bytes = data.size();
  std::string bytes = file.Build();
  return bytes.replace(bytes.size() - data.size(), data.size(), data);
}

std::unique_ptr<Adapter> RandomAdapter::Read(const GgufModel& base) const {
  auto adapter = Adapter::Read({MemoryStore("adapter.gguf", Gguf())}, base);
  if (!adapter.ok()) std::fprintf(stderr, "%s\n", adapter.status().ToString().c_str());
  BARN_CHECK(adapter.ok());
  return *std::move(adapter);
}

std::vector<double> RandomAdapter::Delta(const std::string& tensor, double scale) const {
  for (const Pair& pair : pairs) {
    if (pair.tensor != tensor) continue;
    std::vector<double> delta(static_cast<size_t>(pair.rows * pair.cols));
    for (int64_t row = 0; row < pair.rows; ++row) {
      for (int64_t r = 0; r < rank; ++r) {
        const double b = scale * alpha / static_cast<double>(rank) * pair.b[row * rank + r];
        for (int64_t col = 0; col < pair.cols; ++col) delta[row * pair.cols + col] += b * pair.a[r * pair.cols + col];
      }
    }
    return delta;
  }
  return {};
}

RandomAdapter MakeAdapter(const OracleModel& model, const std::function<bool(const GgufTensor&)>& wanted, int64_t rank,
                          float alpha, uint32_t seed) {
  RandomAdapter adapter{.architecture = model.header->architecture(), .rank = rank, .alpha = alpha};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values, int64_t count, float deviation) {
    for (int64_t i = 0; i < count; ++i) values.push_back(normal(random) * deviation);
  };
  for (const GgufTensor& tensor : model.header->tensors()) {
    if (tensor.dim_count != 2 || !wanted(tensor)) continue;
    RandomAdapter::Pair pair{.tensor = tensor.name, .rows = tensor.dims[1], .cols = tensor.dims[0]};
    const auto width = static_cast<float>(pair.cols), ranks = static_cast<float>(rank);
    fill(pair.a, rank * pair.cols, 1 / std::sqrt(width));
    fill(pair.b, pair.rows * rank, 0.3f * std::sqrt(ranks) / alpha);
    adapter.pairs.push_back(std::move(pair));
  }
  return adapter;
}

absl::StatusOr<std::span<const std::byte>> MergedWeights::Tensor(const GgufTensor& tensor) {
  std::vector<float>& merged = merged_[tensor.name];
  if (merged.empty()) {
    for (const auto& [adapter, scale] : adapters_) {
      const std::vector<double> delta = adapter.Delta(tensor.name, scale);
      if (delta.empty()) continue;
      if (merged.empty()) merged = model_.F32Tensor(tensor.name);
      BARN_CHECK(merged.size() == delta.size());
      for (size_t i = 0; i < delta.size(); ++i) merged[i] = static_cast<float>(merged[i] + delta[i]);
    }
  }
  return merged.empty() ? model_.weights->Tensor(tensor) : std::as_bytes(std::span(merged));
}

}  // namespace barn
