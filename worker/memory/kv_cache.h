#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "sharding/model_config.h"

namespace barn {

struct KvCacheOptions {
  int64_t blocks = 0;
  int64_t block_tokens = 0;
  KvType type = KvType::kF16;
};

// The block pools of the layers of one slice. Block b of every layer belongs to the same sequence, so that one block
// table serves them all; who owns which block is the coordinator's business.
class KvCache {
 public:
  // One pool for each shape. InvalidArgument: a size is not positive or the pool overflows. ResourceExhausted: device
  // memory.
  static absl::StatusOr<KvCache> Create(Device& device, std::span<const KvShape> layers, const KvCacheOptions& options);

  const KvLayer& layer(int64_t index) const { return layers_[index]; }
  int64_t blocks() const { return blocks_; }
  int64_t block_tokens() const { return block_tokens_; }
  int64_t bytes() const { return bytes_; }

 private:
  KvCache() = default;

  std::vector<KvLayer> layers_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  int64_t blocks_ = 0;
  int64_t block_tokens_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace barn
