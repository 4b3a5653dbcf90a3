#include "worker/service/machine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

namespace barn {
namespace {

// The first number in a file; -1 when there is none ("max").
int64_t NumberIn(const char* path) {
  std::ifstream file(path);
  int64_t number = -1;
  return file >> number ? number : -1;
}

}  // namespace

int64_t AvailableMemoryBytes() {
  int64_t available = 0;
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (int64_t kib = 0; file >> key >> kib; std::getline(file, unit)) {
    if (key == "MemAvailable:") {
      available = kib * 1024;
    }
  }
  // Inside a container the root of the mounted hierarchy is our own group.
  const int64_t limit = NumberIn("/sys/fs/cgroup/memory.max");
  if (limit > 0) {
    const int64_t used = std::max<int64_t>(0, NumberIn("/sys/fs/cgroup/memory.current"));
    available = std::min(available, std::max<int64_t>(0, limit - used));
  }
  return available;
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  return file >> total >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

std::string HostName() {
  std::array<char, 256> name = {};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

std::string DefaultCacheDirectory() {
  if (const char* barn_home = std::getenv("BARN_HOME"); barn_home != nullptr && *barn_home != '\0') {
    return std::string(barn_home) + "/cache";
  }
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : std::string(home) + "/.barn/cache";
}

}  // namespace barn
