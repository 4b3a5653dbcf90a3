#include "coordinator/models/opened_model.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/models/model_facts.h"
#include "proto/base/status.h"
#include "sharding/model_config.h"

namespace barn {

absl::Status ChooseTemplate(const std::string& file, const GgufModel& model, const std::string& version,
                            ServedModel& served) {
  std::string source = served.tokenizer.vocabulary().chat_template;
  if (!file.empty()) {
    constexpr std::streamsize kBytesMax = 1 << 20;
    std::ifstream in(file, std::ios::binary);
    source.resize(kBytesMax + 1);
    in.read(source.data(), kBytesMax + 1);
    source.resize(static_cast<size_t>(in.gcount()));
    if (in.bad() || (in.fail() && !in.eof()) || source.size() > kBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrFormat("--chat-template %s: cannot be read, or is larger than %d bytes", file, kBytesMax));
    }
  }
  served.facts = ReadModelFacts(model, source, version);
  if (source.empty() && file.empty()) return absl::OkStatus();
  absl::StatusOr<std::shared_ptr<const ChatTemplate>> parsed = ChatTemplate::Create(source, served.tokenizer);
  if (parsed.ok()) {
    served.chat_template = *std::move(parsed);
  } else if (!file.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("--chat-template %s: %s", file, parsed.status().message()));
  } else {
    served.chat_template_error = std::string(parsed.status().message());
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenedModel> OpenedModel::Open(const std::string& location, const std::string& id,
                                              const std::string& chat_template, const std::string& version) {
  OpenedModel opened;
  BARN_ASSIGN_OR_RETURN(opened.file, GgufModel::Open(location));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*opened.file));
  BARN_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadVocabulary(opened.file->metadata()));
  BARN_ASSIGN_OR_RETURN(opened.tokenizer, Tokenizer::Create(std::move(vocabulary)));
  opened.served = std::make_unique<ServedModel>(ServedModel{.id = id,
                                                            .created = absl::ToUnixSeconds(absl::Now()),
                                                            .tokenizer = *opened.tokenizer,
                                                            .context_tokens = config.context_tokens});
  BARN_RETURN_IF_ERROR(ChooseTemplate(chat_template, *opened.file, version, *opened.served));
  opened.served->grammars = std::make_shared<grammar::GrammarCache>(*opened.tokenizer);
  return opened;
}

}  // namespace barn
