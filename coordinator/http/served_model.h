#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "coordinator/scheduler/request.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/grammar/grammar_cache.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// What the model gives as an embedding model.
struct EmbeddingFacts {
  bool encoder = false;              // It generates nothing.
  Pooling pooling = Pooling::kMean;  // Of its embeddings, unless a request says otherwise.
  bool pooling_known = false;        // The model's file says so; it was made for embeddings.
  bool scores = false;               // It has a classification head of one label, for reranking.
  int64_t width = 0;                 // Numbers of a vector.
};
class ServedAdapters;

// What bounds the reasoning of requests that say nothing about it.
struct ReasoningBudget {
  int64_t tokens = -1;       // < 0: it has no bound.
  std::string message = {};  // The last thought where a bound is reached, that of a request, too.
};

// What a model's file says about it, for those who ask.
struct ModelFacts {
  std::string family = {};          // Architecture.
  std::string parameter_size = {};  // "268M".
  std::string quantization = {};    // "Q4_K_M".
  std::string license = {};
  std::string chat_template = {};
  std::string digest = {};  // 64 hexadecimal digits that change with what the file's header tells.
  int64_t size_bytes = 0;
  int64_t embedding_length = 0;
  EmbeddingFacts embedding = {};
  nlohmann::json header = nlohmann::json::object();  // Keys of the file but long lists.
  std::string server_version = {};
};

// The model as clients see it.
struct ServedModel {
  std::string id;                         // Name in requests and in /v1/models.
  std::vector<std::string> aliases = {};  // Other names that requests may use.
  int64_t created = 0;                    // Unix time, seconds.
  const Tokenizer& tokenizer;             // Outlives the server.
  // Null: chats are rendered as plain text with roles, or refused where `chat_template_error` says why.
  std::shared_ptr<const ChatTemplate> chat_template = nullptr;
  std::string chat_template_error = {};
  // For answers that are held to a form; made by the server if it is null.
  std::shared_ptr<grammar::GrammarCache> grammars = nullptr;
  ReasoningBudget reasoning = {};
  int64_t context_tokens = 0;  // Longest prompt plus answer of one request; 0: as the engine says.
  ModelFacts facts = {};
  std::shared_ptr<ServedAdapters> adapters = nullptr;  // Null: it takes none.
};

}  // namespace barn
