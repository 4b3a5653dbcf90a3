#include "coordinator/http/embeddings/embedding_job.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;

// So that one request with many inputs leaves places in the queue to others.
constexpr size_t kInputsAtOnce = 32;

// The ids of one input, with the tokens that the model wants around a text.
std::optional<ApiError> ReadIds(const ServedModel& model, const std::variant<std::string, Ids>& input,
                                const std::string& field, Ids& ids) {
  if (std::holds_alternative<std::string>(input)) {
    const auto& text = std::get<std::string>(input);
    if (text.empty()) return BadParam(field, absl::StrCat("'", field, "' holds an empty text"));
    absl::StatusOr<Ids> encoded = model.tokenizer.Encode(text);
    if (!encoded.ok()) return BadParam(field, encoded.status().message());
    ids = *std::move(encoded);
  } else {
    ids = std::get<Ids>(input);
    for (const int32_t id : ids) {
      if (id < model.tokenizer.size()) continue;
      return BadParam(field,
                      absl::StrCat("'", field, "' holds token ", id, ", the last one is ", model.tokenizer.size() - 1));
    }
  }
  if (ids.empty()) return BadParam(field, absl::StrCat("'", field, "' holds an input without tokens"));
  return std::nullopt;
}

// Takes tokens from the end; a closing token of the model stays.
void Shorten(const Tokenizer& tokenizer, int64_t tokens_max, Ids& ids) {
  if (static_cast<int64_t>(ids.size()) <= tokens_max || tokens_max < 1) return;
  const int32_t last = ids.back();
  ids.resize(static_cast<size_t>(tokens_max));
  if (tokenizer.IsSpecial(last)) ids.back() = last;
}

GenerateRequest PoolingRequest(Ids ids, Pooling pooling, absl::Duration timeout) {
  GenerateRequest request;
  request.prompt = std::move(ids);
  request.max_tokens = 0;
  request.pooling = pooling;
  request.timeout = timeout;
  return request;
}

// [begin] query [end] document [end], as cross-encoders were trained: BERT has one token between the two, RoBERTa two.
absl::StatusOr<Ids> AppendDocument(const Tokenizer& tokenizer, Ids query, const std::string& document) {
  absl::StatusOr<Ids> ids = tokenizer.Encode(document);
  if (!ids.ok()) return ids;
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  if (vocabulary.pair_separator >= 0) query.push_back(vocabulary.pair_separator);
  query.insert(query.end(), ids->begin() + (vocabulary.add_bos && !ids->empty() ? 1 : 0), ids->end());
  return query;
}

}  // namespace

JobResult EmbeddingJob(const ServedModel& model, const EngineState& engine, const EmbeddingRequest& request,
                       MakeEmbeddingAnswer make_answer) {
  const EmbeddingFacts& facts = model.facts.embedding;
  if (!request.model.empty() && !Serves(model, request.model)) return ModelNotFound(request.model);
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  if (request.dimensions.value_or(0) > facts.width) {
    return BadParam("dimensions",
                    absl::StrCat("'dimensions' is ", *request.dimensions, ", the model's vectors have ", facts.width));
  }
  GenerationJob job;
  job.at_once = kInputsAtOnce;
  int64_t prompt_tokens = 0;
  for (const auto& input : request.inputs) {
    Ids ids;
    if (auto error = ReadIds(model, input, request.inputs_field, ids)) return *error;
    if (request.truncate) Shorten(model.tokenizer, context_tokens, ids);
    const auto count = static_cast<int64_t>(ids.size());
    if (auto error = CheckFits(request.inputs_field, count, 0, context_tokens)) return *error;
    prompt_tokens += count;
    job.requests.push_back(PoolingRequest(std::move(ids), request.pooling.value_or(facts.pooling), request.timeout));
  }
  job.answer = make_answer({.model = model.id,
                            .inputs = request.inputs.size(),
                            .prompt_tokens = prompt_tokens,
                            .dimensions = request.dimensions,
                            .base64 = request.base64,
                            .normalized = request.normalized,
                            .start = absl::Now()});
  return job;
}

JobResult RerankJob(const ServedModel& model, const EngineState& engine, const RerankRequest& request) {
  if (!request.model.empty() && !Serves(model, request.model)) return ModelNotFound(request.model);
  if (!model.facts.embedding.scores) {
    return BadParam("model",
                    absl::StrCat("'", model.id, "' is no reranker: it has no classification head of one label"));
  }
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  const absl::StatusOr<Ids> query = model.tokenizer.Encode(request.query);
  if (!query.ok()) return BadParam("query", query.status().message());
  GenerationJob job;
  job.at_once = kInputsAtOnce;
  int64_t prompt_tokens = 0;
  for (const std::string& document : request.documents) {
    absl::StatusOr<Ids> ids = AppendDocument(model.tokenizer, *query, document);
    if (!ids.ok()) return BadParam("documents", ids.status().message());
    if (request.truncate) Shorten(model.tokenizer, context_tokens, *ids);
    const auto count = static_cast<int64_t>(ids->size());
    if (auto error = CheckFits("documents", count, 0, context_tokens)) return *error;
    prompt_tokens += count;
    job.requests.push_back(PoolingRequest(*std::move(ids), Pooling::kScore, request.timeout));
  }
  job.answer = MakeRerankAnswer(request, model.id, prompt_tokens);
  return job;
}

}  // namespace barn
