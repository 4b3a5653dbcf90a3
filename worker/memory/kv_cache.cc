#include "worker/memory/kv_cache.h"

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// Heads' rows of one pool. ResourceExhausted where their bytes would not fit 63 bits.
absl::StatusOr<int64_t> PoolRows(const KvCacheOptions& options, int64_t kv_heads, int64_t width) {
  int64_t rows = 1;
  int64_t bytes = KvRowBytes(options.type, width);
  for (const int64_t factor : {options.blocks, options.block_tokens, kv_heads}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      return absl::ResourceExhaustedError(absl::StrFormat("%d KV blocks of %d tokens, %d heads of %d, are too large",
                                                          options.blocks, options.block_tokens, kv_heads, width));
    }
    rows *= factor;
  }
  return rows;
}

}  // namespace

absl::StatusOr<KvCache> KvCache::Create(Device& device, std::span<const KvShape> layers,
                                        const KvCacheOptions& options) {
  if (options.blocks < 1 || options.block_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrFormat("a KV cache of %d blocks of %d tokens; both must be at least 1",
                                                      options.blocks, options.block_tokens));
  }
  KvCache cache;
  cache.blocks_ = options.blocks;
  cache.block_tokens_ = options.block_tokens;
  // The scales of Q8_0 and Q4_0 lie before the codes, which need no alignment of their own.
  const auto allocate = [&](int64_t kv_heads, int64_t width, void*& elements, uint16_t*& scales) -> absl::Status {
    BARN_ASSIGN_OR_RETURN(const int64_t rows, PoolRows(options, kv_heads, width));
    const int64_t bytes = rows * KvRowBytes(options.type, width);
    BARN_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, device.AllocateKv(bytes));
    elements = buffer->data();
    if (KvHasScales(options.type)) {
      scales = static_cast<uint16_t*>(elements);
      elements = scales + rows * KvScales(width);
    }
    cache.bytes_ += bytes;
    cache.buffers_.push_back(std::move(buffer));
    return absl::OkStatus();
  };
  for (const KvShape& shape : layers) {
    if (shape.kv_heads < 1 || shape.k_width < 1 || shape.v_width < 1 ||
        (shape.v_is_k_prefix && shape.v_width > shape.k_width)) {
      return absl::InvalidArgumentError(absl::StrFormat("a KV layer of %d heads, keys of %d and values of %d",
                                                        shape.kv_heads, shape.k_width, shape.v_width));
    }
    KvLayer layer{.type = options.type,
                  .block_tokens = options.block_tokens,
                  .kv_heads = shape.kv_heads,
                  .k_width = shape.k_width,
                  .v_width = shape.v_width,
                  .v_is_k_prefix = shape.v_is_k_prefix};
    BARN_RETURN_IF_ERROR(allocate(shape.kv_heads, shape.k_width, layer.k, layer.k_scales));
    if (!shape.v_is_k_prefix) {
      BARN_RETURN_IF_ERROR(allocate(shape.kv_heads, shape.v_width, layer.v, layer.v_scales));
    }
    cache.layers_.push_back(layer);
  }
  return cache;
}

}  // namespace barn
