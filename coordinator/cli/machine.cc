#include "coordinator/cli/machine.h"

#include <sys/utsname.h>

#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coordinator/cli/size_text.h"

namespace barn {
namespace {

std::string ReadText(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string SystemName() {
  utsname names = {};
  if (uname(&names) != 0) return "";
  return absl::StrCat(names.sysname, " ", names.release);
}

}  // namespace

std::string CpuModel(std::string_view cpuinfo) {
  for (const absl::string_view line : absl::StrSplit(absl::string_view(cpuinfo.data(), cpuinfo.size()), '\n')) {
    if (!absl::StartsWith(line, "model name")) continue;
    const size_t colon = line.find(':');
    if (colon != absl::string_view::npos) return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return "";
}

Machine DescribeMachine() {
  Machine machine;
  machine.cpu = CpuModel(ReadText("/proc/cpuinfo"));
  machine.system = SystemName();
  machine.governor = ReadText("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  absl::StripAsciiWhitespace(&machine.governor);
  machine.memory_bytes = PhysicalMemoryBytes();
  return machine;
}

}  // namespace barn
