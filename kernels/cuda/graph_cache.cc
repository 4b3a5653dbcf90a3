#include "kernels/cuda/graph_cache.h"

#include <functional>
#include <string_view>
#include <utility>

#include "kernels/cuda/runtime.h"

namespace barn {
namespace {

constexpr int64_t kWorkMin = 8;            // Kernels and copies; fewer gain nothing.
constexpr size_t kWorkBytesMax = 1 << 20;  // A graph of a step of a large model has 0.3 MB of arguments.
constexpr size_t kKnownMax = 128;

size_t HashOf(const std::vector<std::byte>& bytes) {
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

absl::Status GraphCache::Start(gpu::WorkLog& log) {
  absl::Status status;
  if (log.size() < kWorkMin || log.bytes().size() > kWorkBytesMax) {
    log.StartAll();
  } else {
    if (known_.size() >= kKnownMax) {
      status = gpu::Synchronize(stream_);
      Clear();
    }
    Known& known = known_[HashOf(log.bytes())];
    if (known.work == log.bytes()) {
      status.Update(StartKnown(known, log));
    } else {
      if (known.graph != nullptr) status.Update(gpu::Synchronize(stream_));
      gpu::DestroyGraph(known.graph);
      known = {.work = log.bytes()};
      log.StartAll();
    }
  }
  log.Clear();
  return status;
}

absl::Status GraphCache::StartKnown(Known& known, gpu::WorkLog& log) {
  if (known.graph == nullptr) {
    if (absl::Status status = gpu::BeginCapture(stream_); !status.ok()) return status;
    log.StartAll();
    absl::StatusOr<gpu::Graph> graph = gpu::EndCapture(stream_);
    if (!graph.ok()) return graph.status();
    known.graph = *graph;
  }
  gpu::LaunchGraph(known.graph, stream_);
  ++starts_;
  return absl::OkStatus();
}

void GraphCache::Clear() {
  for (const auto& [hash, known] : known_) gpu::DestroyGraph(known.graph);
  known_.clear();
}

}  // namespace barn
