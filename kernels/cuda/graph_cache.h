#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/work_log.h"

namespace barn {

// Starts what a log holds. Work that comes a second time, word for word, becomes a graph, which costs the host one call
// instead of one for each kernel and the GPU less between two kernels. A step of the same sequences differs from the
// one before in what small arrays in device memory say, which the graph copies there anew, not in its kernels'
// arguments, until a sequence is longer by a block of attention (kAttentionSplit).
class GraphCache {
 public:
  explicit GraphCache(gpu::Stream stream) : stream_(stream) {}
  ~GraphCache() { Clear(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Leaves the log empty.
  absl::Status Start(gpu::WorkLog& log);
  int64_t starts() const { return starts_; }  // Of graphs.

 private:
  struct Known {
    std::vector<std::byte> work;
    gpu::Graph graph = nullptr;  // Null: it came once.
  };
  absl::Status StartKnown(Known& known, gpu::WorkLog& log);
  void Clear();  // Once none of them runs any more.

  const gpu::Stream stream_;
  std::unordered_map<size_t, Known> known_;  // By hash; of two with the same one the later stays.
  int64_t starts_ = 0;
};

}  // namespace barn
