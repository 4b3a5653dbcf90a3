#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "sharding/model_config.h"
#include "worker/model/routing.h"

namespace barn {

// A model as data: an architecture's file fills these structs from metadata, and the shared blocks run them. Tensor
// shapes follow from the numbers here and are checked before a weight is used.

enum class Presence { kAbsent, kOptional, kRequired };

enum class RopeScaling { kNone, kLinear, kYarn };

// Rotary embedding of one kind of layer. Angle of pair i at position p: p * base^(-2i / width), then scaled.
struct RopeSpec {
  RopePairs pairs = RopePairs::kHalves;
  int64_t width = 0;  // Rotated elements of a head; 0: no rotation.
  double base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  int64_t original_context = 0;  // YaRN: the context before it was stretched.
  double beta_fast = 32;
  double beta_slow = 1;
  double magnitude = 1;             // Of cos and sin.
  std::string factors_tensor = "";  // f32[width / 2] that divide the angles; empty when the file has none.

  bool operator==(const RopeSpec&) const = default;
};

// q *= 1 + scale * ln(1 + floor((position + offset) / span)).
struct TemperatureSpec {
  double scale = 0;  // 0: none.
  int64_t span = 1;
  int64_t offset = 0;
};

// Multi-head latent attention (DeepSeek-V2, section 2.1). Rows of q are, per head, `nope` then `rope.width` elements.
struct MlaSpec {
  int64_t nope = 0;   // Key width without position, per head.
  int64_t value = 0;  // Value width per head.
  int64_t kv_rank = 0;
  int64_t q_rank = 0;    // 0: q comes from the input directly.
  bool absorbed = true;  // attn_k_b and attn_v_b; otherwise the older attn_kv_b, which stores plain keys and values.
};

enum class HeadNorm { kPerHead, kWholeRow };

struct AttentionSpec {
  int64_t heads = 0;
  KvShape kv;  // What the cache stores.
  float scale = 1;
  float softcap = 0;   // As AttentionArgs.
  int64_t window = 0;  // As AttentionArgs.
  int64_t chunk = 0;   // As AttentionArgs.
  RopeSpec rope;
  Presence qk_norm = Presence::kAbsent;  // RMS norm of q and k before the rotation.
  HeadNorm qk_norm_over = HeadNorm::kPerHead;
  bool unit_norm_after_rope = false;  // llama4: q and k of each head to RMS 1, no weight.
  Presence qkv_bias = Presence::kOptional;
  Presence output_bias = Presence::kOptional;
  bool fused_qkv = false;  // One attn_qkv with the rows of q, k and v.
  bool sinks = false;
  TemperatureSpec temperature;
  bool both_ways = false;  // As AttentionArgs.
  double slope_max = 0;    // > 0: ALiBi; see AlibiSlopes.
  std::optional<MlaSpec> mla;
};

struct DenseSpec {
  int64_t width = 0;
  Activation activation = Activation::kSilu;
  bool gated = true;           // down(act(gate x) * up x); otherwise down(act(up x)) with a kGelu...
  bool fused_gate_up = false;  // ffn_up holds the rows of gate, then those of up.
  Presence bias = Presence::kOptional;
};

struct RoutedSpec {
  RoutingSpec routing;
  int64_t width = 0;
  Activation activation = Activation::kSilu;
  bool weight_scales_input = false;             // As ExpertMatrices.
  Presence selection_bias = Presence::kAbsent;  // exp_probs_b
  bool biases = false;                          // Of the router and of every expert (gpt-oss).
  int64_t shared_width = 0;                     // 0: no shared expert.
  bool shared_gate = false;                     // Its output times sigmoid(ffn_gate_inp_shexp . x).
};

struct LayerSpec {
  AttentionSpec attention;
  DenseSpec dense;
  std::optional<RoutedSpec> routed;  // Instead of dense.
  std::string ffn_norm = "ffn_norm";
  bool post_norms = false;  // Gemma: each branch is normed before it joins the residual stream.
  bool parallel = false;    // command-r: both branches read the same norm.
  bool input_norm = true;   // attn_norm; ModernBERT's first layer reads the stream as it is.
  bool norm_after = false;  // BERT: x = norm(x + branch(x)), with attn_output_norm and layer_output_norm.
};

struct NormSpec {
  bool subtract_mean = false;  // LayerNorm, else RMSNorm.
  bool bias = false;
  float epsilon = 1e-5f;
};

// What encoders add to the embedding of a token.
struct InputSpec {
  int64_t positions = 0;   // > 0: rows of position_embd, one for each position.
  int64_t types = 0;       // > 0: rows of token_types.
  int64_t separator = -1;  // With 2 types: tokens behind the first one of this id are of type 1, a second text.
  bool norm = false;       // token_embd_norm over the sum.
};

struct ModelSpec {
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t context_tokens = 0;
  NormSpec norm;
  float embedding_scale = 1;
  float residual_scale = 1;
  float logit_scale = 1;
  float final_softcap = 0;
  bool encoder = false;          // A sequence comes whole; no output head.
  bool output_norm = true;       // Behind the last layer.
  bool scores = false;           // cls and cls.output; see ScoreHead.
  int64_t embedding_hidden = 0;  // > 0: dense_2 gives so many; see EmbeddingHead.
  InputSpec input;
  std::vector<LayerSpec> layers;
};

}  // namespace barn
