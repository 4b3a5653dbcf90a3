#include "coordinator/cli/commands.h"

#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace barn {

void SetWork(CLI::App* command, std::function<absl::Status()> run) {
  std::string name = command->get_name();
  const CLI::App* parent = command->get_parent();
  if (parent->get_parent() != nullptr) name = parent->get_name() + " " + name;  // "key create".
  command->callback([name, run = std::move(run)] {
    if (const absl::Status status = run(); !status.ok()) {
      std::fprintf(stderr, "barn %s: %s\n", name.c_str(), std::string(status.message()).c_str());
      throw CLI::RuntimeError(1);
    }
  });
}

std::string_view BarnVersion() { return BARN_VERSION; }

void AddVersionCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("version", "Print the version");
  static bool json = false;
  command->add_flag("--json", json, "As JSON");
  SetWork(command, [] {
    std::printf(json ? "{\"version\":\"%s\"}\n" : "barn %s\n", std::string(BarnVersion()).c_str());
    return absl::OkStatus();
  });
}

}  // namespace barn
