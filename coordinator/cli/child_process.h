#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace barn {

struct ChildOptions {
  std::vector<std::string> arguments;                            // Behind the program's name.
  std::vector<std::pair<std::string, std::string>> environment;  // Added to ours; secrets go here, not into arguments.
  std::vector<int> cpus;                                         // May run on these only; empty: as we do.
};

// This same binary in another process. The child ends when we end, however we do. Moves only.
class ChildProcess {
 public:
  static absl::StatusOr<ChildProcess> Start(const ChildOptions& options);
  ChildProcess(ChildProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess() { End(); }

  pid_t pid() const { return pid_; }
  bool Running();  // Reaps the child when it has ended.
  void End();      // SIGTERM, after 3 s SIGKILL, then reaps. Safe to call again.

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
};

// Processors that this process may run on.
std::vector<int> AllowedCpus();

}  // namespace barn
