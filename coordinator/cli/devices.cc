// `barn devices`: what this machine has to compute with, and why something cannot be used.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "coordinator/cli/commands.h"
#include "kernels/devices.h"
#include "nlohmann/json.hpp"
#include "sharding/byte_text.h"

namespace barn {
namespace {

std::string Text(const DeviceEntry& entry) {
  std::string text = absl::StrFormat("%-8s %s", entry.name, entry.description);
  if (entry.memory_bytes > 0) text += ", " + ByteText(entry.memory_bytes);
  if (!entry.missing.empty()) text += (entry.description.empty() ? "not usable: " : "; not usable: ") + entry.missing;
  return text + "\n";
}

nlohmann::json Json(const DeviceEntry& entry) {
  return {{"name", entry.name},
          {"description", entry.description},
          {"memory_bytes", entry.memory_bytes},
          {"usable", entry.missing.empty()},
          {"missing", entry.missing}};
}

absl::Status List(bool json) {
  nlohmann::json all = nlohmann::json::array();
  for (const DeviceEntry& entry : ListDevices()) {
    json ? all.push_back(Json(entry)) : void(std::fputs(Text(entry).c_str(), stdout));
  }
  if (json) std::printf("%s\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddDevicesCommand(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("devices", "List what workers may compute on here (--device), and what is missing");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "As JSON");
  SetWork(command, [json] { return List(*json); });
}

}  // namespace barn
