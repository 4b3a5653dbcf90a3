#pragma once

#include <cstdint>
#include <string>

namespace barn {

// Facts about this machine and process, from /proc and the control group; 0 or "" where the system does not tell.

// Memory that this process may still take: MemAvailable, or what its control group leaves when that is less.
int64_t AvailableMemoryBytes();

int64_t ResidentBytes();

std::string HostName();

// $BARN_HOME/cache, or $HOME/.barn/cache.
std::string DefaultCacheDirectory();

}  // namespace barn
