#pragma once

#include <memory>

#include "worker/model/attention.h"

namespace barn {

// Multi-head latent attention (DeepSeek-V2, section 2.1.2). With absorbed weights, queries move to the latent space and
// the cache holds one latent row per token; the older attn_kv_b layout stores plain keys and values per head.
std::unique_ptr<AttentionPart> MakeLatentAttention(TensorLoader& loader, const AttentionContext& context);

}  // namespace barn
