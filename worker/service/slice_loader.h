#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "proto/cluster.pb.h"
#include "sharding/catalogue.h"
#include "sharding/gguf.h"
#include "sharding/model_config.h"
#include "sharding/store/cache.h"
#include "worker/memory/fetched_weights.h"
#include "worker/model/slice.h"

namespace barn {

struct SliceLoaderOptions {
  Device* device = nullptr;     // Outlives the loader.
  std::string cache_directory;  // For remote models; made at the first one.
  int64_t cache_bytes_max = 0;  // CacheOptions::bytes_max
  // Computes the experts that lie with the host, beside a device with memory of its own. Outlives the loader. Null:
  // there is none.
  std::function<absl::StatusOr<Device*>()> host_device = nullptr;
  int fetch_streams = 4;
};

// Of one worker.
struct SliceMemory {
  int64_t bytes = 0;       // Weights and KV cache, of the device.
  int64_t host_bytes = 0;  // Experts that lie with the host, beside a device with memory of its own.
};

// Whether a file of the model comes over a network.
bool IsRemote(const proto::LoadRequest& request);

// Turns load requests of one deployment into slices and keeps the latest: a request for the same tensors reads nothing
// again, and one that asks for the same KV cache too gets the same slice. One thread at a time.
class SliceLoader {
 public:
  explicit SliceLoader(SliceLoaderOptions options) : options_(std::move(options)) {}

  struct Loaded {
    std::shared_ptr<Slice> slice;  // Must not outlive the loader's next Load or Unload.
    int64_t bytes_moved = 0;
    int64_t expert_bytes_per_token = 0;
  };
  // Opens headers, checks the request against them, brings the tensors, makes the slice. InvalidArgument: the request
  // does not fit the model. ResourceExhausted: it does not fit this worker's memory. FailedPrecondition: it asks for
  // results that do not depend on the batch, and the device's do. Cancelled: stop. The caller holds
  // no slice of an earlier load.
  // `memory` is what there is for weights and KV.
  absl::StatusOr<Loaded> Load(const proto::LoadRequest& request, const SliceMemory& memory, std::stop_token stop,
                              const std::function<void(const FetchProgress&)>& on_progress);
  void Unload();

  // Brings the tensors of a remote model into the cache, so that Load moves no bytes. Any thread; touches nothing that
  // Load does. Errors as Load's.
  absl::Status Fetch(const proto::LoadRequest& request, std::stop_token stop,
                     const std::function<void(const FetchProgress&)>& on_progress) const;

  // The header of what is kept; null: nothing is.
  const std::shared_ptr<const GgufModel>& model() const { return kept_.model; }
  // Weights and KV of what is kept.
  const SliceMemory& held() const { return held_; }

 private:
  // What was loaded last. The slice borrows from the weights, the weights from the cache.
  struct Kept {
    std::string weights_key;
    std::shared_ptr<const GgufModel> model;
    std::unique_ptr<FetchedWeights> weights;
    std::string slice_key;
    std::shared_ptr<Slice> slice;
  };

  absl::Status LoadWeights(std::unique_ptr<GgufModel> model, std::span<const CatalogueEntry* const> entries,
                           std::string key, const FetchOptions& fetch);
  absl::StatusOr<Cache*> CacheFor(const GgufModel& model);

  const SliceLoaderOptions options_;
  std::unique_ptr<Cache> cache_;
  Kept kept_;
  SliceMemory held_;
};

}  // namespace barn
