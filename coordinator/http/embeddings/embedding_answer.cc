#include "coordinator/http/embeddings/embedding_answer.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/json_reply.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// Waits for one vector of each choice.
class VectorsAnswer : public Answer {
 public:
  explicit VectorsAnswer(size_t choices) : vectors_(choices), done_(choices, false) {}

  bool streams() const final { return false; }
  bool done(size_t choice) const final { return done_[choice]; }
  bool done() const final { return error_.has_value() || done_count_ == done_.size(); }
  const ApiError* error() const final { return error_.has_value() ? &*error_ : nullptr; }
  std::string Failure(const ApiError&) const final { return ""; }
  std::string KeepAlive() final { return ""; }

  std::string Add(const ChoiceUpdate& item) final {
    const RequestUpdate& update = item.update;
    if (update.finish == FinishReason::kNone || done_[item.choice]) return "";
    if (update.finish == FinishReason::kError) error_ = FromStatus(update.status);
    if (update.finish != FinishReason::kError && update.embedding.empty()) {
      error_ = FromStatus(absl::InternalError("the engine gave no embedding"));
    }
    vectors_[item.choice] = update.embedding;
    done_[item.choice] = true;
    ++done_count_;
    return "";
  }

 protected:
  const std::vector<std::vector<float>>& vectors() const { return vectors_; }

 private:
  std::vector<std::vector<float>> vectors_;
  std::vector<bool> done_;
  size_t done_count_ = 0;
  std::optional<ApiError> error_;
};

// The first `dimensions` numbers, at length 1 where that is wanted. A vector of zeros stays one.
std::vector<float> Shaped(std::vector<float> vector, const EmbeddingAnswerOptions& options) {
  if (options.dimensions.has_value()) vector.resize(static_cast<size_t>(*options.dimensions));
  if (!options.normalized) return vector;
  double squares = 0;
  for (const float value : vector) squares += double{value} * value;
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  for (float& value : vector) value = static_cast<float>(value * scale);
  return vector;
}

// A JSON list with the fewest digits that give the same floats.
void AppendNumbers(std::span<const float> values, std::string& json) {
  json += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) json += ',';
    char digits[32];
    json.append(digits, std::to_chars(digits, digits + sizeof(digits), values[i]).ptr);
  }
  json += ']';
}

void AppendBase64(std::span<const float> values, std::string& json) {
  static_assert(std::endian::native == std::endian::little);
  absl::StrAppend(&json, "\"",
                  absl::Base64Escape(
                      absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))),
                  "\"");
}

class OpenAiEmbeddings final : public VectorsAnswer {
 public:
  explicit OpenAiEmbeddings(EmbeddingAnswerOptions options)
      : VectorsAnswer(options.inputs), options_(std::move(options)) {}

  std::string End() override {
    std::string json = R"({"object":"list","data":[)";
    for (size_t i = 0; i < vectors().size(); ++i) {
      absl::StrAppend(&json, i > 0 ? "," : "", R"({"object":"embedding","index":)", i, R"(,"embedding":)");
      const std::vector<float> vector = Shaped(vectors()[i], options_);
      options_.base64 ? AppendBase64(vector, json) : AppendNumbers(vector, json);
      json += '}';
    }
    const Json usage = {{"prompt_tokens", options_.prompt_tokens}, {"total_tokens", options_.prompt_tokens}};
    absl::StrAppend(&json, R"(],"model":)", JsonText(options_.model), R"(,"usage":)", JsonText(usage), "}");
    return json;
  }

 private:
  const EmbeddingAnswerOptions options_;
};

class OllamaEmbed final : public VectorsAnswer {
 public:
  explicit OllamaEmbed(EmbeddingAnswerOptions options) : VectorsAnswer(options.inputs), options_(std::move(options)) {}

  std::string End() override {
    std::string json = absl::StrCat(R"({"model":)", JsonText(options_.model), R"(,"embeddings":[)");
    for (size_t i = 0; i < vectors().size(); ++i) {
      if (i > 0) json += ',';
      AppendNumbers(Shaped(vectors()[i], options_), json);
    }
    absl::StrAppend(&json, R"(],"total_duration":)", absl::ToInt64Nanoseconds(absl::Now() - options_.start),
                    R"(,"load_duration":0,"prompt_eval_count":)", options_.prompt_tokens, "}");
    return json;
  }

 private:
  const EmbeddingAnswerOptions options_;
};

class OllamaEmbeddings final : public VectorsAnswer {
 public:
  explicit OllamaEmbeddings(EmbeddingAnswerOptions options)
      : VectorsAnswer(options.inputs), options_(std::move(options)) {}

  std::string End() override {
    std::string json = R"({"embedding":)";
    AppendNumbers(Shaped(vectors().front(), options_), json);
    return json + "}";
  }

 private:
  const EmbeddingAnswerOptions options_;
};

class RerankAnswer final : public VectorsAnswer {
 public:
  RerankAnswer(const RerankRequest& request, std::string model, int64_t prompt_tokens)
      : VectorsAnswer(request.documents.size()),
        top_n_(static_cast<size_t>(request.top_n)),
        model_(std::move(model)),
        prompt_tokens_(prompt_tokens) {
    if (request.return_documents) documents_ = request.documents;
  }

  std::string End() override {
    std::vector<size_t> order(vectors().size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return vectors()[a].front() > vectors()[b].front(); });
    order.resize(std::min(order.size(), top_n_));
    Json results = Json::array();
    for (const size_t index : order) {
      const double score = 1 / (1 + std::exp(-double{vectors()[index].front()}));
      Json result = {{"index", index}, {"relevance_score", score}};
      if (!documents_.empty()) result["document"] = {{"text", documents_[index]}};
      results.push_back(std::move(result));
    }
    return JsonText({{"id", NewId("rerank-")},
                     {"object", "list"},
                     {"model", model_},
                     {"results", std::move(results)},
                     {"usage", {{"prompt_tokens", prompt_tokens_}, {"total_tokens", prompt_tokens_}}}});
  }

 private:
  const size_t top_n_;
  const std::string model_;
  const int64_t prompt_tokens_;
  std::vector<std::string> documents_;  // Empty unless they are to be returned.
};

}  // namespace

std::unique_ptr<Answer> MakeOpenAiEmbeddings(EmbeddingAnswerOptions options) {
  return std::make_unique<OpenAiEmbeddings>(std::move(options));
}

std::unique_ptr<Answer> MakeOllamaEmbed(EmbeddingAnswerOptions options) {
  return std::make_unique<OllamaEmbed>(std::move(options));
}

std::unique_ptr<Answer> MakeOllamaEmbeddings(EmbeddingAnswerOptions options) {
  return std::make_unique<OllamaEmbeddings>(std::move(options));
}

std::unique_ptr<Answer> MakeRerankAnswer(const RerankRequest& request, std::string model, int64_t prompt_tokens) {
  return std::make_unique<RerankAnswer>(request, std::move(model), prompt_tokens);
}

}  // namespace barn
