#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/http/served_adapters.h"

namespace barn {

// One --lora.
struct LoraOption {
  std::string name;
  std::string reference;
  float scale = 1;
};

void AddLoraOption(CLI::App* command, std::vector<std::string>& options);

// NAME=PATH[:SCALE]. InvalidArgument.
absl::StatusOr<LoraOption> ParseLora(const std::string& text);

// Adapters to serve from the start; errors name the option.
absl::Status BeginAdapters(const std::vector<std::string>& options, ServedAdapters& adapters);
// Once the workers are there: the error of the first adapter that they could not load.
absl::Status AwaitAdapters(const std::vector<std::string>& options, ServedAdapters& adapters);

}  // namespace barn
