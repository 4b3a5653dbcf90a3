#include "coordinator/http/embeddings/embedding_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/embeddings/embedding_job.h"
#include "coordinator/http/json_reply.h"

namespace barn {
namespace {

using Json = nlohmann::json;

RouteResult ToResult(JobResult job) {
  if (std::holds_alternative<ApiError>(job)) return std::get<ApiError>(std::move(job));
  return std::move(std::get<GenerationJob>(job));
}

// The dialect's words for a model that is not here, and for a request without a body.
std::optional<ApiError> ReadOllama(const ApiContext& context, const HttpRequest& http,
                                   std::optional<ApiError> (*read)(const Json&, EmbeddingRequest&),
                                   EmbeddingRequest& request) {
  if (http.body.empty()) return BadParam("body", "missing request body");
  if (auto error = ReadBody(http, request, read)) return error;
  if (Serves(context.model, request.model)) return std::nullopt;
  ApiError error = ModelNotFound(request.model);
  error.message = absl::StrCat("model '", request.model, "' not found");
  return error;
}

}  // namespace

RouteResult OpenAiEmbed(const ApiContext& context, const HttpRequest& http) {
  EmbeddingRequest request;
  if (auto error = ReadBody(http, request, &ReadOpenAiEmbeddings)) return *error;
  return ToResult(EmbeddingJob(context.model, context.engine.State(), request, &MakeOpenAiEmbeddings));
}

RouteResult OllamaEmbedRoute(const ApiContext& context, const HttpRequest& http) {
  EmbeddingRequest request;
  if (auto error = ReadOllama(context, http, &ReadOllamaEmbed, request)) return *error;
  if (request.inputs.empty()) {  // The client wants the model loaded, which it is.
    return JsonReply({{"model", context.model.id},
                      {"embeddings", Json::array()},
                      {"total_duration", 0},
                      {"load_duration", 0},
                      {"prompt_eval_count", 0}});
  }
  return ToResult(EmbeddingJob(context.model, context.engine.State(), request, &MakeOllamaEmbed));
}

RouteResult OllamaEmbeddingsRoute(const ApiContext& context, const HttpRequest& http) {
  EmbeddingRequest request;
  if (auto error = ReadOllama(context, http, &ReadOllamaEmbeddings, request)) return *error;
  if (request.inputs.empty()) return JsonReply({{"embedding", Json::array()}});
  return ToResult(EmbeddingJob(context.model, context.engine.State(), request, &MakeOllamaEmbeddings));
}

RouteResult Rerank(const ApiContext& context, const HttpRequest& http) {
  RerankRequest request;
  if (auto error = ReadBody(http, request, &ReadRerank)) return *error;
  return ToResult(RerankJob(context.model, context.engine.State(), request));
}

}  // namespace barn
