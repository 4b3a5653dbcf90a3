#include "tests/coordinator/http/fuzz_request.h"

#include <cstdlib>
#include <string>

#include "coordinator/http/embeddings/embedding_request.h"
#include "coordinator/http/json_reader.h"
#include "coordinator/http/native/native_request.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/request_parser.h"

namespace barn {
namespace {

void Require(bool promise) {
  if (!promise) std::abort();
}

void RequireError(const std::optional<ApiError>& error) {
  if (!error.has_value()) return;
  Require(error->status >= 400 && error->status < 500 && !error->message.empty());
  Require(!ReadJson(ErrorBody(*error)).value()["error"]["message"].empty());
}

void RequireShared(const SharedFields& shared, size_t prompts) {
  Require(Validate(shared.sampling).ok());
  Require(shared.n >= 1 && shared.n * static_cast<int64_t>(prompts) <= kChoicesMax);
  Require(shared.stop.size() <= kStopsMax && shared.top_logprobs >= 0 && shared.top_logprobs <= kTopLogprobsMax);
  Require(shared.max_tokens.value_or(1) >= 0);
}

void ReadEmbeddings(const nlohmann::json& json) {
  for (const auto read : {&ReadOpenAiEmbeddings, &ReadOllamaEmbed, &ReadOllamaEmbeddings}) {
    EmbeddingRequest request;
    const std::optional<ApiError> error = read(json, request);
    if (!error.has_value()) {
      Require(static_cast<int64_t>(request.inputs.size()) <= kEmbeddingInputsMax);
      Require(request.dimensions.value_or(1) >= 1 && request.dimensions.value_or(1) <= kDimensionsMax);
    }
    RequireError(error);
  }
  RerankRequest rerank;
  const std::optional<ApiError> error = ReadRerank(json, rerank);
  if (!error.has_value()) {
    Require(!rerank.query.empty() && !rerank.documents.empty() && rerank.top_n >= 1);
    Require(static_cast<int64_t>(rerank.documents.size()) <= kEmbeddingInputsMax);
  }
  RequireError(error);
}

void ReadBody(const std::string& body) {
  const auto json = ReadJson(body, {.depth_max = 16, .values_max = 10'000});
  if (!json.ok()) return RequireError(FromStatus(json.status()));
  CompletionRequest completion;
  std::optional<ApiError> error = ReadCompletionRequest(*json, completion);
  if (!error.has_value()) RequireShared(completion.shared, completion.prompts.size());
  RequireError(error);
  ChatRequest chat;
  error = ReadChatRequest(*json, chat);
  if (!error.has_value()) {
    RequireShared(chat.shared, 1);
    error = ReadTemplateInputs(body, chat);
    Require(error.has_value() || !chat.messages.empty());
    Require(chat.tool_specs.size() <= kToolsMax);
  }
  RequireError(error);
  ReadEmbeddings(*json);
  for (const auto read : {&ReadNativeCompletion, &ReadNativeInfill}) {
    NativeRequest native;
    error = read(*json, native);
    if (!error.has_value()) {
      RequireShared(native.shared, 1);
      Require(native.infill.others.size() <= kInfillFilesMax);
    }
    RequireError(error);
  }
}

}  // namespace

void FuzzRequest(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto [request, error] = ParseRequest(bytes, {.header_bytes_max = 1024, .body_bytes_max = 64 * 1024});
  Require(request.body.size() <= 64 * 1024);
  RequireError(error);
  if (!error.has_value()) ReadBody(request.body);
  // Without a length the fuzzer would have to keep in step, so what follows the header counts as a body, too.
  const size_t header_end = bytes.find("\r\n\r\n");
  if (header_end != std::string::npos) ReadBody(bytes.substr(header_end + 4));
}

}  // namespace barn
