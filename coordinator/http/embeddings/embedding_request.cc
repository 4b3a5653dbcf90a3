#include "coordinator/http/embeddings/embedding_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/fields.h"
#include "coordinator/http/ollama/ollama_request.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/shared_fields.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

bool IsId(const Json& value) { return value.is_number_unsigned() && value.get<uint64_t>() <= INT32_MAX; }

// A list of token ids; an empty list is one, too.
bool ReadIds(const Json& list, Ids& ids) {
  for (const Json& entry : list) {
    if (!IsId(entry)) return false;
    ids.push_back(entry.get<int32_t>());
  }
  return true;
}

void CheckCount(Fields& fields, absl::string_view name, size_t count) {
  if (count <= static_cast<size_t>(kEmbeddingInputsMax)) return;
  fields.Fail(name, absl::StrCat("has ", count, " entries, at most ", kEmbeddingInputsMax, " are allowed"));
}

// A text, a list of texts, a list of token ids, or a list of such lists.
void ReadOpenAiInput(Fields& fields, EmbeddingRequest& request) {
  constexpr absl::string_view kForms =
      "must be a string, a list of strings, a list of token ids or a list of such lists";
  const Json* value = fields.Find("input");
  if (value == nullptr) return fields.Fail("input", "is required");
  if (value->is_string()) {
    request.inputs.emplace_back(value->get<std::string>());
    return;
  }
  if (!value->is_array()) return fields.Fail("input", kForms);
  if (value->empty()) return fields.Fail("input", "is an empty list");
  if (value->front().is_number()) {
    Ids ids;
    if (!ReadIds(*value, ids)) return fields.Fail("input", kForms);
    request.inputs.emplace_back(std::move(ids));
    return;
  }
  CheckCount(fields, "input", value->size());
  if (!fields.ok()) return;
  for (const Json& entry : *value) {
    Ids ids;
    if (entry.is_string()) {
      request.inputs.emplace_back(entry.get<std::string>());
    } else if (entry.is_array() && ReadIds(entry, ids)) {
      request.inputs.emplace_back(std::move(ids));
    } else {
      return fields.Fail("input", kForms);
    }
  }
}

void ReadTimeout(Fields& fields, absl::Duration& timeout) {
  if (fields.Find("timeout") == nullptr) return;
  timeout = absl::Seconds(fields.Number("timeout", 0, 0.001, kTimeoutSecondsMax));
}

void ReadPooling(Fields& fields, EmbeddingRequest& request) {
  if (fields.Find("pooling") == nullptr) return;
  const std::string name = fields.String("pooling", "");
  if (name == "mean") {
    request.pooling = Pooling::kMean;
  } else if (name == "cls") {
    request.pooling = Pooling::kFirst;
  } else if (name == "last") {
    request.pooling = Pooling::kLast;
  } else {
    fields.Fail("pooling", "must be \"mean\", \"cls\" or \"last\"");
  }
}

// What both of Ollama's paths have. The model stays where it is, whatever keep_alive and options say.
void ReadOllamaShared(Fields& fields, EmbeddingRequest& request) {
  request.model = OllamaModelName(fields.String("model", ""));
  if (request.model.empty()) fields.Fail("model", "is required");
  const Json* keep = fields.Find("keep_alive");
  if (keep != nullptr && !keep->is_number() && !keep->is_string()) {
    fields.Fail("keep_alive", "must be a number of seconds or a text such as \"5m\"");
  }
  const Json* options = fields.Find("options");
  if (options != nullptr && !options->is_object()) fields.Fail("options", "must be an object");
}

}  // namespace

std::optional<ApiError> ReadOpenAiEmbeddings(const Json& body, EmbeddingRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  request.model = fields.String("model", "");
  ReadOpenAiInput(fields, request);
  const std::string format = fields.String("encoding_format", "float");
  if (format != "float" && format != "base64") fields.Fail("encoding_format", "must be \"float\" or \"base64\"");
  request.base64 = format == "base64";
  request.dimensions = fields.OptionalInteger("dimensions", 1, kDimensionsMax);
  request.truncate = fields.Bool("truncate", false);
  ReadPooling(fields, request);
  ReadTimeout(fields, request.timeout);
  return fields.error();
}

std::optional<ApiError> ReadOllamaEmbed(const Json& body, EmbeddingRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadOllamaShared(fields, request);
  request.dimensions = fields.OptionalInteger("dimensions", 0, kDimensionsMax);
  if (request.dimensions == 0) request.dimensions.reset();  // As if it were not there.
  request.truncate = fields.Bool("truncate", true);
  const Json* input = fields.Find("input");
  if (input != nullptr && input->is_string()) {
    if (!input->get_ref<const std::string&>().empty()) request.inputs.emplace_back(input->get<std::string>());
  } else if (input != nullptr && input->is_array()) {
    CheckCount(fields, "input", input->size());
    for (const Json& entry : *input) {
      if (!fields.ok()) break;
      if (!entry.is_string()) fields.Fail("input", "must be a string or a list of strings");
      if (entry.is_string()) request.inputs.emplace_back(entry.get<std::string>());
    }
  } else if (input != nullptr) {
    fields.Fail("input", "must be a string or a list of strings");
  }
  return fields.error();
}

std::optional<ApiError> ReadOllamaEmbeddings(const Json& body, EmbeddingRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  ReadOllamaShared(fields, request);
  request.inputs_field = "prompt";
  request.normalized = false;
  request.truncate = true;
  if (std::string prompt = fields.String("prompt", ""); !prompt.empty()) request.inputs.emplace_back(std::move(prompt));
  return fields.error();
}

std::optional<ApiError> ReadRerank(const Json& body, RerankRequest& request) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  request.model = fields.String("model", "");
  request.query = fields.String("query", "");
  if (request.query.empty()) fields.Fail("query", "is required: a text");
  request.top_n = fields.Integer("top_n", kEmbeddingInputsMax, 1, INT32_MAX);
  request.return_documents = fields.Bool("return_documents", false);
  request.truncate = fields.Bool("truncate", false);
  ReadTimeout(fields, request.timeout);
  const Json* documents = fields.Find("documents");
  if (documents == nullptr || !documents->is_array() || documents->empty()) {
    fields.Fail("documents", "is required: a list of texts, or of objects with a text");
    return fields.error();
  }
  CheckCount(fields, "documents", documents->size());
  for (const Json& entry : *documents) {
    if (!fields.ok()) break;
    const Json* text = &entry;
    if (const auto member = entry.is_object() ? entry.find("text") : entry.end(); member != entry.end())
      text = &*member;
    if (!text->is_string()) {
      fields.Fail("documents", "holds an entry that is neither a text nor an object with a text");
    } else {
      request.documents.push_back(text->get<std::string>());
    }
  }
  return fields.error();
}

}  // namespace barn
