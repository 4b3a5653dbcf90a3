#include "coordinator/cli/serve_models.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/cli/model_reference.h"
#include "coordinator/cli/models_config.h"
#include "coordinator/http/model_wish.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// "name=path", where that is no file itself.
ModelSettings ParseNamed(const std::string& text) {
  ModelSettings model;
  const size_t equals = text.find('=');
  std::error_code error;
  const bool is_name = equals != text.npos && text.find('/') > equals && !std::filesystem::exists(text, error);
  if (is_name) model.name = text.substr(0, equals);
  model.path = is_name ? text.substr(equals + 1) : text;
  return model;
}

std::vector<ModelSettings> AllOf(const ServedModelsSettings& settings) {
  std::vector<ModelSettings> all = ConfiguredModels();
  for (const std::string& path : settings.positional) all.push_back({.name = "", .path = path});
  for (const std::string& text : settings.named) all.push_back(ParseNamed(text));
  return all;
}

absl::StatusOr<absl::Duration> KeepAlive(const std::string& text) {
  const auto parsed = ParseKeepAlive(text);
  if (parsed.has_value()) return *parsed;
  return absl::InvalidArgumentError(
      absl::StrFormat("keep-alive '%s' is neither a number of seconds nor a time such as 5m", text));
}

}  // namespace

bool ServedModelsSettings::several() const {
  const std::vector<ModelSettings> all = AllOf(*this);
  const bool named = std::any_of(all.begin(), all.end(), [](const auto& model) { return !model.name.empty(); });
  return all.size() > 1 || named || !folder.empty() || !ConfiguredModels().empty();
}

std::string ServedModelsSettings::only() const {
  const std::vector<ModelSettings> all = AllOf(*this);
  if (!all.empty()) return all.front().path;
  const char* environment = std::getenv("BARN_MODEL");
  return environment == nullptr ? "" : environment;
}

void AddServedModels(CLI::App* command, ServedModelsSettings& settings) {
  command->add_option(
      "model", settings.positional,
      "GGUF files or part 1 of several, http(s) URLs, or tiny-moe (or BARN_MODEL). One is always loaded; "
      "several are loaded when they are asked for");
  command
      ->add_option("--model", settings.named,
                   "NAME=MODEL: one of several models, under a name of your choice; may be given often")
      ->allow_extra_args(false);
  command->add_option("--models-dir", settings.folder, "A folder of GGUF files that are offered by their names")
      ->envname("BARN_MODELS_DIR");
  command
      ->add_option("--pin", settings.pinned, "Of several models, one by name that is always loaded; may be given often")
      ->allow_extra_args(false);
  command
      ->add_option("--keep-alive", settings.keep_alive,
                   "How long one of several models stays loaded when nobody uses it; -1: until another needs its room")
      ->envname("BARN_KEEP_ALIVE")
      ->capture_default_str();
}

absl::StatusOr<ModelNames> OpenModelNames(const ServedModelsSettings& settings, int64_t context_tokens,
                                          const std::string& chat_template) {
  std::map<std::string, NamedModel> configured;
  BARN_ASSIGN_OR_RETURN(const absl::Duration keep_alive, KeepAlive(settings.keep_alive));
  for (const ModelSettings& model : AllOf(settings)) {
    BARN_ASSIGN_OR_RETURN(const ModelReference found, ResolveModel(model.path));
    NamedModel named{.location = found.location,
                     .pinned = model.pinned,
                     .keep_alive = keep_alive,
                     .context_tokens = model.context_tokens > 0 ? model.context_tokens : context_tokens,
                     .chat_template = model.chat_template.empty() ? chat_template : model.chat_template,
                     .created = absl::ToUnixSeconds(absl::Now())};
    if (!model.keep_alive.empty()) {
      BARN_ASSIGN_OR_RETURN(named.keep_alive, KeepAlive(model.keep_alive));
    }
    std::error_code error;
    const auto bytes = std::filesystem::file_size(found.location, error);
    if (!error) named.size_bytes = static_cast<int64_t>(bytes);
    const std::string name = model.name.empty() ? found.id : model.name;
    if (!configured.try_emplace(name, std::move(named)).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("two models are called '%s'; --model NAME=%s gives one another name", name, model.path));
    }
  }
  const NamedModel of_folder{
      .location = "", .keep_alive = keep_alive, .context_tokens = context_tokens, .chat_template = chat_template};
  return ModelNames::Open(std::move(configured), settings.folder, of_folder, settings.pinned);
}

}  // namespace barn
