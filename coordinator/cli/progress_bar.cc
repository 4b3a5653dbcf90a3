#include "coordinator/cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/cli/size_text.h"
#include "sharding/byte_text.h"

namespace barn {
namespace {

constexpr absl::Duration kLogInterval = absl::Seconds(5);

}  // namespace

std::string LoadLine(const EngineState& state) {
  int64_t done = 0;
  int64_t total = 0;
  double rate = 0;
  for (const WorkerState& worker : state.workers) {
    done += worker.load_bytes_done;
    total += worker.load_bytes_total;
    rate += worker.loaded ? 0 : worker.load_bytes_per_second;
  }
  if (total == 0) {
    return state.reason;
  }
  constexpr int kWidth = 24;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int filled = static_cast<int>(share * kWidth);
  std::string line = absl::StrFormat("loading [%s%s] %3.0f %%  %s of %s", std::string(filled, '#'),
                                     std::string(kWidth - filled, ' '), share * 100, ByteText(done), ByteText(total));
  if (rate > 0 && done < total) {
    absl::StrAppendFormat(&line, "  %s/s  %s left", ByteText(static_cast<int64_t>(rate)),
                          FormatSeconds(static_cast<double>(total - done) / rate));
  }
  return line;
}

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) == 1), drawn_at_(absl::Now()) {}

void ProgressBar::Draw(const EngineState& state) {
  const absl::Time now = absl::Now();
  if (!terminal_ && (now - drawn_at_ < kLogInterval || state.workers.empty())) {
    return;
  }
  const std::string line = LoadLine(state);
  if (line == last_) {
    return;
  }
  last_ = line;
  drawn_at_ = now;
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::Finish() {
  if (drawn_ && terminal_) {
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  }
  drawn_ = false;
}

}  // namespace barn
