#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "sharding/gguf.h"
#include "sharding/model_config.h"

namespace barn {

// Reads an architecture's keys ("<architecture>." is put before each). The first error sticks and the getters then
// return harmless values, so that an architecture's file can read what it needs and check once. Every number is
// bounded: the file is untrusted.
class ConfigReader {
 public:
  // Both must outlive the reader. context_tokens: the longest sequence that will run.
  ConfigReader(const GgufModel& model, const ModelConfig& config, int64_t context_tokens)
      : model_(model), config_(config), context_tokens_(context_tokens) {}

  // Values must lie in [1, max]; a missing key is an error.
  int64_t Int(std::string_view key, int64_t max);
  // Values must lie in [0, max]; `otherwise` when the key is missing.
  int64_t IntOr(std::string_view key, int64_t otherwise, int64_t max);
  double Float(std::string_view key);  // Finite and larger than 0.
  double FloatOr(std::string_view key, double otherwise);
  bool BoolOr(std::string_view key, bool otherwise);
  std::string StringOr(std::string_view key, std::string_view otherwise);
  bool Has(std::string_view key) const;
  bool HasTensor(std::string_view name) const { return model_.FindTensor(name) != nullptr; }
  // tokenizer.ggml.<name>; -1 where it is missing.
  int64_t TokenId(std::string_view name) const {
    return model_.metadata().Int(std::string("tokenizer.ggml.").append(name)).value_or(-1);
  }
  // Of a matrix; 0 where it is missing.
  int64_t TensorRows(std::string_view name) const {
    const GgufTensor* tensor = model_.FindTensor(name);
    return tensor == nullptr ? 0 : tensor->dims[1];
  }

  void Fail(std::string_view message);  // InvalidArgument, unless something failed before.
  // Fail(message) unless condition.
  void Require(bool condition, std::string_view message);
  const absl::Status& status() const { return status_; }

  const ModelConfig& config() const { return config_; }
  int64_t context_tokens() const { return context_tokens_; }

 private:
  std::string FullKey(std::string_view key) const;

  const GgufModel& model_;
  const ModelConfig& config_;
  int64_t context_tokens_;
  absl::Status status_;
};

}  // namespace barn
