#include "coordinator/cli/stop_signal.h"

#include <signal.h>
#include <time.h>

namespace barn {
namespace {

sigset_t Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

StopSignal::StopSignal() {
  const sigset_t set = Signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

bool StopSignal::Wait(absl::Duration longest) {
  const sigset_t set = Signals();
  const timespec wait = absl::ToTimespec(longest);
  came_ = came_ || sigtimedwait(&set, nullptr, &wait) > 0;
  return came_;
}

}  // namespace barn
