#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/store/cache.h"
#include "sharding/store/store.h"
#include "worker/memory/weights.h"

namespace barn {

struct FetchProgress {
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
  double bytes_per_second = 0;  // Over the last second or so.
};

struct FetchOptions {
  int streams = 4;                // Ranges under way at a time.
  int64_t chunk_bytes = 8 << 20;  // One request; cancelling waits for one at most.
  absl::Duration progress_interval = absl::Milliseconds(250);
  std::function<void(const FetchProgress&)>
      on_progress;  // One call at a time, from any thread; the last has all bytes.
  std::stop_token stop;
};

// The weights of one slice: mapped where the store can, otherwise fetched in parallel into a cache and mapped from
// there. Tensor() is not thread-safe.
class FetchedWeights : public WeightSource {
 public:
  // `parts` in part order, as GgufModel::parts(); `tensors` is what the slice will read. `cache` may be null when every
  // part can be mapped, and must outlive the weights. Cancelled: options.stop. Otherwise as store and cache say.
  static absl::StatusOr<std::unique_ptr<FetchedWeights>> Create(std::vector<std::shared_ptr<const Store>> parts,
                                                                std::span<const GgufTensor> tensors, Cache* cache,
                                                                const FetchOptions& options);

  // A tensor that Create was not told of is mapped or fetched now.
  absl::StatusOr<std::span<const std::byte>> Tensor(const GgufTensor& tensor) override;
  void Drop(const GgufTensor& tensor, int64_t offset, int64_t length) override;

  int64_t bytes_moved() const { return bytes_moved_; }  // Read from remote sources.

 private:
  class Fetch;
  using Key = std::pair<int, int64_t>;  // Part and offset.

  FetchedWeights(std::vector<std::shared_ptr<const Store>> parts, Cache* cache)
      : parts_(std::move(parts)), cache_(cache) {}

  // The range without moving bytes: mapped, or from the cache. NotFound: it must be fetched.
  absl::StatusOr<std::unique_ptr<ByteRange>> Present(const GgufTensor& tensor);
  absl::Status Load(std::span<const GgufTensor> tensors, const FetchOptions& options);
  CacheKey KeyOf(const GgufTensor& tensor) const;

  const std::vector<std::shared_ptr<const Store>> parts_;
  Cache* const cache_;
  std::map<Key, std::unique_ptr<ByteRange>> ranges_;
  std::atomic<int64_t> bytes_moved_ = 0;
};

}  // namespace barn
