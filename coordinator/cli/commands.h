#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace barn {

// Each adds its subcommand to `app`. The callback throws CLI::RuntimeError(1) on failure after one line on stderr.
void AddUpCommand(CLI::App& app);
void AddServeCommand(CLI::App& app);
void AddWorkerCommand(CLI::App& app);
void AddRunCommand(CLI::App& app);
void AddTokenizeCommand(CLI::App& app);
void AddLogitsCommand(CLI::App& app);
void AddShowCommand(CLI::App& app);
void AddPlanCommand(CLI::App& app);
void AddDevicesCommand(CLI::App& app);
void AddStatusCommand(CLI::App& app);
void AddBenchCommand(CLI::App& app);
void AddPerplexityCommand(CLI::App& app);
void AddKeyCommand(CLI::App& app);
void AddUsageCommand(CLI::App& app);
void AddVersionCommand(CLI::App& app);

// Makes `run` the subcommand's work: prints "barn NAME: message" on stderr and exits 1 when it fails.
void SetWork(CLI::App* command, std::function<absl::Status()> run);

// The version of this build, as workers and coordinator compare it.
std::string_view BarnVersion();

}  // namespace barn
