#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/embeddings/embedding_request.h"

namespace barn {

struct EmbeddingAnswerOptions {
  std::string model;
  size_t inputs = 0;
  int64_t prompt_tokens = 0;  // Of all inputs.
  std::optional<int64_t> dimensions;
  bool base64 = false;
  bool normalized = true;
  absl::Time start;
};

// {"object": "list", "data": [{"object": "embedding", "index", "embedding"}], "usage"}
std::unique_ptr<Answer> MakeOpenAiEmbeddings(EmbeddingAnswerOptions options);
// {"model", "embeddings", durations, "prompt_eval_count"}
std::unique_ptr<Answer> MakeOllamaEmbed(EmbeddingAnswerOptions options);
// {"embedding"}
std::unique_ptr<Answer> MakeOllamaEmbeddings(EmbeddingAnswerOptions options);

// {"results": [{"index", "relevance_score", "document"}]}, best first, and usage. A score is the sigmoid of what the
// classification head says.
std::unique_ptr<Answer> MakeRerankAnswer(const RerankRequest& request, std::string model, int64_t prompt_tokens);

}  // namespace barn
