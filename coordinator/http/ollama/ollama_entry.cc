#include "coordinator/http/ollama/ollama_entry.h"

#include "coordinator/text/infill.h"

namespace barn {

using Json = nlohmann::json;

Json OllamaDetails(const ModelFacts& facts) {
  return {{"parent_model", ""},
          {"format", "gguf"},
          {"family", facts.family},
          {"families", Json::array({facts.family})},
          {"parameter_size", facts.parameter_size},
          {"quantization_level", facts.quantization},
          {"embedding_length", facts.embedding_length}};
}

Json OllamaCapabilities(const ServedModel& model) {
  Json list = Json::array();
  if (!model.facts.embedding.encoder) list.push_back("completion");
  if (model.facts.embedding.encoder || model.facts.embedding.pooling_known) list.push_back("embedding");
  if (HasInfillMarks(model.tokenizer)) list.push_back("insert");
  if (model.chat_template != nullptr && model.chat_template->knows_tools()) list.push_back("tools");
  if (model.chat_template != nullptr && model.chat_template->format().reasons()) list.push_back("thinking");
  return list;
}

Json OllamaModelEntry(const std::string& id, const ModelFacts& facts) {
  return {{"name", id},
          {"model", id},
          {"size", facts.size_bytes},
          {"digest", facts.digest},
          {"details", OllamaDetails(facts)}};
}

}  // namespace barn
