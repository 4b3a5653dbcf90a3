#include "kernels/cuda/work_log.h"

#include <atomic>
#include <map>
#include <mutex>

namespace barn::gpu {
namespace {

struct Logs {
  std::mutex mutex;
  std::map<Stream, WorkLog*> by_stream;
  std::atomic<int> count = 0;  // So that programs without logs take no lock for each kernel.
};

Logs& AllLogs() {
  static auto* logs = new Logs;
  return *logs;
}

size_t Aligned(size_t bytes) {
  constexpr size_t kAlignment = alignof(std::max_align_t);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

WorkLog::WorkLog(Stream stream) : stream_(stream) {
  Logs& logs = AllLogs();
  const std::lock_guard lock(logs.mutex);
  logs.by_stream[stream] = this;
  ++logs.count;
}

WorkLog::~WorkLog() {
  Logs& logs = AllLogs();
  const std::lock_guard lock(logs.mutex);
  logs.by_stream.erase(stream_);
  --logs.count;
}

WorkLog* WorkLog::Of(Stream stream) {
  Logs& logs = AllLogs();
  if (logs.count == 0) return nullptr;
  const std::lock_guard lock(logs.mutex);
  const auto found = logs.by_stream.find(stream);
  return found == logs.by_stream.end() || found->second->starting_ ? nullptr : found->second;
}

void WorkLog::Add(Start start) {
  bytes_.resize(Aligned(bytes_.size()));
  entries_.push_back(bytes_.size());
  Write(start);
  bytes_.resize(Aligned(bytes_.size()));
}

void WorkLog::StartAll() {
  starting_ = true;
  for (const size_t entry : entries_) {
    Start start;
    std::memcpy(&start, bytes_.data() + entry, sizeof(start));
    start(bytes_.data() + Aligned(entry + sizeof(start)), stream_);
  }
  starting_ = false;
}

void WorkLog::Clear() {
  bytes_.clear();
  entries_.clear();
}

}  // namespace barn::gpu
