#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <memory>

#include "absl/synchronization/mutex.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/models_config.h"

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // A peer that goes away is an error value, not the end of the process.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // Its errors reach users as a Status, in one line of ours.
  // Debian builds Abseil with the check of lock orders; tests have it, a server that takes many a token does not.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  spdlog::set_default_logger(spdlog::stderr_color_mt("barn"));  // stdout is for data.
  CLI::App app("Barn serves large quantized language models from the machines you have.", "barn");
  app.require_subcommand(1);
  app.set_config("--config", "barn.toml", "Settings in TOML; flags and BARN_* variables win", false);
  app.config_formatter(std::make_shared<barn::ModelsConfig>());
  app.get_formatter()->column_width(36);
  barn::AddUpCommand(app);
  barn::AddServeCommand(app);
  barn::AddWorkerCommand(app);
  barn::AddRunCommand(app);
  barn::AddTokenizeCommand(app);
  barn::AddLogitsCommand(app);
  barn::AddShowCommand(app);
  barn::AddPlanCommand(app);
  barn::AddDevicesCommand(app);
  barn::AddStatusCommand(app);
  barn::AddBenchCommand(app);
  barn::AddPerplexityCommand(app);
  barn::AddKeyCommand(app);
  barn::AddUsageCommand(app);
  barn::AddVersionCommand(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& failure) {
    return failure.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
}
