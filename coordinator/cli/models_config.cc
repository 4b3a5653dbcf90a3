#include "coordinator/cli/models_config.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace barn {
namespace {

constexpr char kTable[] = "models";

void SetField(const CLI::ConfigItem& item, ModelSettings& model) {
  const std::string value = item.inputs.empty() ? "" : item.inputs.front();
  bool fits = item.inputs.size() == 1;
  if (item.name == "name") {
    model.name = value;
  } else if (item.name == "path") {
    model.path = value;
  } else if (item.name == "keep_alive") {
    model.keep_alive = value;
  } else if (item.name == "chat_template") {
    model.chat_template = value;
  } else if (item.name == "pinned") {
    fits = fits && (value == "true" || value == "false");
    model.pinned = value == "true";
  } else if (item.name == "context") {
    fits = fits && absl::SimpleAtoi(value, &model.context_tokens) && model.context_tokens >= 0;
  } else {
    throw CLI::ConfigError(absl::StrCat("[[models]] has no '", item.name,
                                        "'; it has name, path, pinned, keep_alive, context and chat_template"),
                           CLI::ExitCodes::ConfigError);
  }
  if (!fits) {
    throw CLI::ConfigError(absl::StrCat("[[models]]: '", value, "' makes no sense as ", item.name),
                           CLI::ExitCodes::ConfigError);
  }
}

}  // namespace

std::vector<ModelSettings>& ConfiguredModels() {
  static std::vector<ModelSettings> models;
  return models;
}

std::vector<CLI::ConfigItem> ModelsConfig::from_config(std::istream& input) const {
  std::vector<CLI::ConfigItem> others;
  std::vector<ModelSettings> models;
  bool open = false;
  for (CLI::ConfigItem& item : CLI::ConfigTOML::from_config(input)) {
    if (item.parents.empty() || item.parents.back() != kTable) {
      others.push_back(std::move(item));
    } else if (item.name == "++" || item.name == "--") {
      open = false;
    } else {
      if (!std::exchange(open, true)) models.emplace_back();
      SetField(item, models.back());
    }
  }
  for (const ModelSettings& model : models) {
    if (model.path.empty()) {
      throw CLI::ConfigError(absl::StrCat("[[models]] '", model.name, "' has no path"), CLI::ExitCodes::ConfigError);
    }
  }
  ConfiguredModels() = std::move(models);
  return others;
}

}  // namespace barn
