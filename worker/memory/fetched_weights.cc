#include "worker/memory/fetched_weights.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "worker/memory/fetch_progress.h"

namespace barn {
namespace {

// Calls work(0) .. work(count - 1) on up to `threads` threads, in order of start. The first error stops the rest.
absl::Status ParallelFor(int64_t count, int threads, const std::stop_token& stop,
                         const std::function<absl::Status(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  absl::Status first_error;
  const auto run = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      absl::Status status = stop.stop_requested() ? absl::CancelledError("the load was cancelled") : work(i);
      if (!status.ok()) {
        next = count;
        std::lock_guard<std::mutex> lock(mutex);
        first_error.Update(status);
        return;
      }
    }
  };
  std::vector<std::jthread> helpers;
  for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) {
    helpers.emplace_back(run);
  }
  run();
  helpers.clear();
  return first_error;
}

}  // namespace

// A tensor on its way into the cache, in chunks by several threads.
class FetchedWeights::Fetch {
 public:
  Fetch(const Store& store, CacheKey key, int64_t chunk_bytes)
      : store_(store), key_(std::move(key)), chunk_bytes_(chunk_bytes), chunks_left_(chunks()) {}

  int64_t chunks() const { return (key_.size_bytes + chunk_bytes_ - 1) / chunk_bytes_; }
  const CacheKey& key() const { return key_; }

  // Reads one chunk; the thread that brings the last one makes the range durable and sets `range`.
  absl::Status Read(int64_t chunk, Cache& cache, std::unique_ptr<ByteRange>& range, int64_t* bytes) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (writer_ == nullptr) {
        BARN_ASSIGN_OR_RETURN(writer_, cache.Begin(key_));
      }
    }
    const int64_t begin = chunk * chunk_bytes_;
    *bytes = std::min(chunk_bytes_, key_.size_bytes - begin);
    BARN_RETURN_IF_ERROR(store_.Read(key_.offset_bytes + begin, writer_->bytes().subspan(begin, *bytes)));
    if (--chunks_left_ == 0) {
      BARN_ASSIGN_OR_RETURN(range, writer_->Commit());
      writer_.reset();
    }
    return absl::OkStatus();
  }

 private:
  const Store& store_;
  const CacheKey key_;
  const int64_t chunk_bytes_;
  std::atomic<int64_t> chunks_left_;
  std::mutex mutex_;
  std::unique_ptr<Cache::Writer> writer_;  // Made under mutex_, gone after the last chunk.
};

absl::StatusOr<std::unique_ptr<FetchedWeights>> FetchedWeights::Create(std::vector<std::shared_ptr<const Store>> parts,
                                                                       std::span<const GgufTensor> tensors,
                                                                       Cache* cache, const FetchOptions& options) {
  std::unique_ptr<FetchedWeights> weights(new FetchedWeights(std::move(parts), cache));
  BARN_RETURN_IF_ERROR(weights->Load(tensors, options));
  return weights;
}

CacheKey FetchedWeights::KeyOf(const GgufTensor& tensor) const {
  return {.identity = parts_[tensor.part]->Identity(),
          .part = tensor.part,
          .offset_bytes = tensor.offset_bytes,
          .size_bytes = tensor.size_bytes};
}

absl::StatusOr<std::unique_ptr<ByteRange>> FetchedWeights::Present(const GgufTensor& tensor) {
  const Store& store = *parts_[tensor.part];
  absl::StatusOr<std::unique_ptr<ByteRange>> mapped = store.Map(tensor.offset_bytes, tensor.size_bytes);
  if (!absl::IsUnimplemented(mapped.status())) {
    return mapped;
  }
  if (cache_ == nullptr) {
    return absl::FailedPreconditionError(store.Name() + ": a remote model needs a cache directory");
  }
  return cache_->Find(KeyOf(tensor));
}

absl::Status FetchedWeights::Load(std::span<const GgufTensor> tensors, const FetchOptions& options) {
  std::vector<const GgufTensor*> wanted;
  int64_t bytes_total = 0;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.part < 0 || tensor.part >= static_cast<int>(parts_.size())) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tensor %s: part %d of %d", tensor.name, tensor.part, parts_.size()));
    }
    // Two names may share one range (tied embeddings).
    if (ranges_.try_emplace({tensor.part, tensor.offset_bytes}).second) {
      wanted.push_back(&tensor);
      bytes_total += tensor.size_bytes;
    }
  }
  FetchMeter meter(bytes_total, options.progress_interval, options.on_progress);
  std::mutex mutex;
  std::vector<std::pair<std::unique_ptr<ByteRange>*, std::unique_ptr<Fetch>>> missing;
  const auto look = [&](int64_t i) -> absl::Status {
    const GgufTensor& tensor = *wanted[i];
    std::unique_ptr<ByteRange>& slot = ranges_.at({tensor.part, tensor.offset_bytes});
    absl::StatusOr<std::unique_ptr<ByteRange>> range = Present(tensor);
    if (range.ok()) {
      slot = *std::move(range);
      meter.Add(tensor.size_bytes, absl::Now());
      return absl::OkStatus();
    }
    if (!absl::IsNotFound(range.status())) {
      return range.status();
    }
    std::lock_guard<std::mutex> lock(mutex);
    missing.emplace_back(&slot, std::make_unique<Fetch>(*parts_[tensor.part], KeyOf(tensor), options.chunk_bytes));
    return absl::OkStatus();
  };
  BARN_RETURN_IF_ERROR(ParallelFor(static_cast<int64_t>(wanted.size()), options.streams, options.stop, look));

  std::sort(missing.begin(), missing.end(), [](const auto& a, const auto& b) {
    const CacheKey &x = a.second->key(), &y = b.second->key();
    return std::pair(x.part, x.offset_bytes) < std::pair(y.part, y.offset_bytes);
  });
  std::vector<std::pair<size_t, int64_t>> chunks;  // Index in missing, chunk of that range.
  for (size_t i = 0; i < missing.size(); ++i) {
    for (int64_t chunk = 0; chunk < missing[i].second->chunks(); ++chunk) {
      chunks.emplace_back(i, chunk);
    }
  }
  return ParallelFor(static_cast<int64_t>(chunks.size()), options.streams, options.stop,
                     [&](int64_t c) -> absl::Status {
                       auto& [slot, fetch] = missing[chunks[c].first];
                       int64_t bytes = 0;
                       BARN_RETURN_IF_ERROR(fetch->Read(chunks[c].second, *cache_, *slot, &bytes));
                       bytes_moved_ += bytes;
                       meter.Add(bytes, absl::Now());
                       return absl::OkStatus();
                     });
}

absl::StatusOr<std::span<const std::byte>> FetchedWeights::Tensor(const GgufTensor& tensor) {
  const auto found = ranges_.find({tensor.part, tensor.offset_bytes});
  if (found == ranges_.end()) {
    absl::Status status = Load({&tensor, 1}, {});
    if (!status.ok()) {
      ranges_.erase({tensor.part, tensor.offset_bytes});
      return status;
    }
    return Tensor(tensor);
  }
  const std::span<const std::byte> bytes = found->second->bytes();
  if (static_cast<int64_t>(bytes.size()) < tensor.size_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat("tensor %s has %d bytes, its range was loaded with %d",
                                                      tensor.name, tensor.size_bytes, bytes.size()));
  }
  return bytes.first(tensor.size_bytes);
}

void FetchedWeights::Drop(const GgufTensor& tensor, int64_t offset, int64_t length) {
  const auto found = ranges_.find({tensor.part, tensor.offset_bytes});
  if (found != ranges_.end()) {
    found->second->Drop(offset, length);
  }
}

}  // namespace barn
