#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "coordinator/http/api_error.h"
#include "coordinator/scheduler/request.h"

namespace barn {

inline constexpr int64_t kEmbeddingInputsMax = 2048;  // As OpenAI's.
inline constexpr int64_t kDimensionsMax = 1 << 20;

// A request for vectors, whatever its dialect.
struct EmbeddingRequest {
  std::string model;                                                    // Empty: the served one.
  std::vector<std::variant<std::string, std::vector<int32_t>>> inputs;  // Texts or token ids, not checked yet.
  std::string inputs_field = "input";                                   // Its name, for errors.
  std::optional<int64_t> dimensions;  // A vector's first so many numbers, at length 1 again.
  bool base64 = false;                // Little-endian f32 in base64 instead of numbers.
  bool normalized = true;             // Vectors of length 1.
  bool truncate = false;              // An input that is too long loses its end instead of being refused.
  std::optional<Pooling> pooling;     // Extension: in place of the model's own.
  absl::Duration timeout = absl::InfiniteDuration();
};

// POST /v1/embeddings, /api/embed and the older /api/embeddings. What is wrong with the body, naming the field.
std::optional<ApiError> ReadOpenAiEmbeddings(const nlohmann::json& body, EmbeddingRequest& request);
std::optional<ApiError> ReadOllamaEmbed(const nlohmann::json& body, EmbeddingRequest& request);
std::optional<ApiError> ReadOllamaEmbeddings(const nlohmann::json& body, EmbeddingRequest& request);

// POST /v1/rerank, as Jina and Cohere word it.
struct RerankRequest {
  std::string model;
  std::string query;
  std::vector<std::string> documents;
  int64_t top_n = kEmbeddingInputsMax;
  bool return_documents = false;
  bool truncate = false;  // Documents that are too long lose their end.
  absl::Duration timeout = absl::InfiniteDuration();
};

std::optional<ApiError> ReadRerank(const nlohmann::json& body, RerankRequest& request);

}  // namespace barn
