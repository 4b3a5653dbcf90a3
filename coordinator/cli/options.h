#pragma once

#include <CLI/CLI.hpp>

#include "coordinator/cli/local_cluster.h"

namespace barn {

// Flags that several commands share, each also read from BARN_<NAME>.
void AddModelArgument(CLI::App* command, ModelOptions& options, bool required = true);
void AddContextOptions(CLI::App* command, ModelOptions& options);
void AddSchedulingOptions(CLI::App* command, SchedulingOptions& options);
void AddLocalWorkerOptions(CLI::App* command, LocalWorkerOptions& options);

// The file with keys and usage; BARN_HOME/keys.db when it stays empty.
void AddKeysFile(CLI::App* command, std::string& path);

}  // namespace barn
