#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/models/model_names.h"

namespace barn {

// Which models `barn up` and `barn serve` offer.
struct ServedModelsSettings {
  std::vector<std::string> positional;
  std::vector<std::string> named;  // NAME=PATH, or PATH.
  std::vector<std::string> pinned;
  std::string folder;
  std::string keep_alive = "5m";

  // One model, always loaded, as its path says ("": the embedded one); "several" otherwise.
  bool several() const;
  std::string only() const;
};

void AddServedModels(CLI::App* command, ServedModelsSettings& settings);

// All of them by name. NotFound, InvalidArgument: a path, a name, or two models of one name.
absl::StatusOr<ModelNames> OpenModelNames(const ServedModelsSettings& settings, int64_t context_tokens,
                                          const std::string& chat_template);

}  // namespace barn
