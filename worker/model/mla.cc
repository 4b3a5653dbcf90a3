#include "worker/model/mla.h"

namespace barn {
namespace {

// The query of both layouts: [T, H * (nope + rope)], the last part of each head rotated.
class LatentQuery {
 public:
  LatentQuery(TensorLoader& loader, const AttentionContext& context)
      : context_(context), mla_(*context.spec.mla), width_(context.spec.heads * (mla_.nope + context.spec.rope.width)) {
    const auto name = [&](std::string_view tensor) { return LayerTensor(context.layer, tensor); };
    if (mla_.q_rank > 0) {
      down_ = loader.Matrix(name("attn_q_a.weight"), {.rows = mla_.q_rank, .cols = context.width});
      norm_ = loader.Vector(name("attn_q_a_norm.weight"), mla_.q_rank);
      up_ = loader.Matrix(name("attn_q_b.weight"), {.rows = width_, .cols = mla_.q_rank});
    } else {
      up_ = loader.Matrix(name("attn_q.weight"), {.rows = width_, .cols = context.width});
    }
    kv_ = loader.Matrix(name("attn_kv_a_mqa.weight"),
                        {.rows = mla_.kv_rank + context.spec.rope.width, .cols = context.width});
    kv_norm_ = loader.Vector(name("attn_kv_a_norm.weight"), mla_.kv_rank);
  }

  // q: [T, width()]; latent: [T, kv_rank + rope], the normed latent and the rotated key that all heads share.
  void Project(const Step& step, Tensor x, Tensor q, Tensor latent) const {
    Device& device = step.device;
    if (down_ != nullptr) {
      const Scratch::Frame frame(step.scratch);
      const Tensor low = step.scratch.Take(x.rows, mla_.q_rank);
      const Projection first[] = {{down_, nullptr, low}, {kv_, nullptr, latent}};
      step.Multiply(first, x);
      device.RmsNorm(low, norm_, context_.norm_epsilon, low);
      const Projection second[] = {{up_, nullptr, q}};
      step.Multiply(second, low);
    } else {
      const Projection both[] = {{up_, nullptr, q}, {kv_, nullptr, latent}};
      step.Multiply(both, x);
    }
    const Tensor content = Columns(latent, 0, mla_.kv_rank);
    device.RmsNorm(content, kv_norm_, context_.norm_epsilon, content);
    Rotate(step, context_, latent, 1, mla_.kv_rank);
    Rotate(step, context_, q, context_.spec.heads, mla_.nope);
  }

  int64_t width() const { return width_; }
  int64_t scratch_floats_per_row() const { return Scratch::RowFloats(mla_.q_rank); }

 private:
  const AttentionContext& context_;
  MlaSpec mla_;
  int64_t width_;
  const Matrix* down_ = nullptr;
  const Matrix* up_ = nullptr;
  const Matrix* kv_ = nullptr;
  const float* norm_ = nullptr;
  const float* kv_norm_ = nullptr;
};

// Scores are taken in the latent space: (W_k^T q) . c instead of q . (W_k c), so that a token's cache is one latent
// row.
class AbsorbedAttention final : public AttentionPart {
 public:
  AbsorbedAttention(TensorLoader& loader, const AttentionContext& context)
      : context_(context), mla_(*context.spec.mla), query_(loader, context_) {
    const auto name = [&](std::string_view tensor) { return LayerTensor(context.layer, tensor); };
    const int64_t heads = context.spec.heads;
    k_b_ = loader.Matrix(name("attn_k_b.weight"), {.count = heads, .rows = mla_.kv_rank, .cols = mla_.nope});
    v_b_ = loader.Matrix(name("attn_v_b.weight"), {.count = heads, .rows = mla_.value, .cols = mla_.kv_rank});
    output_ = loader.Matrix(name("attn_output.weight"), {.rows = context.width, .cols = heads * mla_.value});
  }

  void Forward(const Step& step, Tensor x, Tensor out) const override {
    const AttentionSpec& spec = context_.spec;
    const int64_t heads = spec.heads;
    const int64_t latent_width = mla_.kv_rank + spec.rope.width;
    const int64_t head_width = mla_.nope + spec.rope.width;
    Device& device = step.device;
    const Scratch::Frame frame(step.scratch);
    Tensor q = step.scratch.Take(x.rows, query_.width());
    Tensor latent = step.scratch.Take(x.rows, latent_width);
    Tensor nope = step.scratch.Take(x.rows, heads * mla_.nope);
    Tensor absorbed = step.scratch.Take(x.rows, heads * mla_.kv_rank);
    Tensor full_q = step.scratch.Take(x.rows, heads * latent_width);
    Tensor mixed = step.scratch.Take(x.rows, heads * mla_.value);

    query_.Project(step, x, q, latent);
    device.WriteKv(*context_.kv, step.sequences, latent, {});
    device.Copy(Columns(PerHead(q, head_width), 0, mla_.nope), PerHead(nope, mla_.nope));
    device.BatchedMatMul(*k_b_, nope, absorbed);
    const Tensor full_heads = PerHead(full_q, latent_width);
    device.Copy(PerHead(absorbed, mla_.kv_rank), Columns(full_heads, 0, mla_.kv_rank));
    device.Copy(Columns(PerHead(q, head_width), mla_.nope, spec.rope.width),
                Columns(full_heads, mla_.kv_rank, spec.rope.width));
    device.Attention({.q = full_q,
                      .out = absorbed,
                      .kv = context_.kv,
                      .sequences = step.sequences,
                      .heads = heads,
                      .scale = spec.scale});
    device.BatchedMatMul(*v_b_, absorbed, mixed);
    const Projection output[] = {{output_, nullptr, out}};
    step.Multiply(output, mixed);
  }

  int64_t scratch_floats_per_row() const override {
    const int64_t heads = context_.spec.heads;
    const int64_t latent_width = mla_.kv_rank + context_.spec.rope.width;
    return query_.scratch_floats_per_row() + Scratch::RowFloats(query_.width()) + Scratch::RowFloats(latent_width) +
           Scratch::RowFloats(heads * mla_.nope) + Scratch::RowFloats(heads * mla_.kv_rank) +
           Scratch::RowFloats(heads * latent_width) + Scratch::RowFloats(heads * mla_.value);
  }

 private:
  AttentionContext context_;
  MlaSpec mla_;
  LatentQuery query_;
  const Matrix *k_b_, *v_b_, *output_;
};

// The layout before absorption: attn_kv_b gives every head its own key and value, and the rotated key is repeated.
class ExpandedAttention final : public AttentionPart {
 public:
  ExpandedAttention(TensorLoader& loader, const AttentionContext& context)
      : context_(context), mla_(*context.spec.mla), query_(loader, context_) {
    const auto name = [&](std::string_view tensor) { return LayerTensor(context.layer, tensor); };
    const int64_t heads = context.spec.heads;
    kv_b_ = loader.Matrix(name("attn_kv_b.weight"), {.rows = heads * (mla_.nope + mla_.value), .cols = mla_.kv_rank});
    output_ = loader.Matrix(name("attn_output.weight"), {.rows = context.width, .cols = heads * mla_.value});
  }

  void Forward(const Step& step, Tensor x, Tensor out) const override {
    const AttentionSpec& spec = context_.spec;
    const int64_t heads = spec.heads;
    const int64_t head_width = mla_.nope + spec.rope.width;
    Device& device = step.device;
    const Scratch::Frame frame(step.scratch);
    Tensor q = step.scratch.Take(x.rows, query_.width());
    Tensor latent = step.scratch.Take(x.rows, mla_.kv_rank + spec.rope.width);
    Tensor both = step.scratch.Take(x.rows, heads * (mla_.nope + mla_.value));
    Tensor k = step.scratch.Take(x.rows, heads * head_width);
    Tensor v = step.scratch.Take(x.rows, heads * mla_.value);
    Tensor mixed = step.scratch.Take(x.rows, heads * mla_.value);

    query_.Project(step, x, q, latent);
    const Projection expand[] = {{kv_b_, nullptr, both}};
    step.Multiply(expand, Columns(latent, 0, mla_.kv_rank));
    const Tensor both_heads = PerHead(both, mla_.nope + mla_.value);
    device.Copy(Columns(both_heads, 0, mla_.nope), Columns(PerHead(k, head_width), 0, mla_.nope));
    device.Copy(Columns(both_heads, mla_.nope, mla_.value), PerHead(v, mla_.value));
    for (int64_t h = 0; h < heads; ++h) {
      device.Copy(Columns(latent, mla_.kv_rank, spec.rope.width),
                  Columns(k, h * head_width + mla_.nope, spec.rope.width));
    }
    device.WriteKv(*context_.kv, step.sequences, k, v);
    device.Attention(
        {.q = q, .out = mixed, .kv = context_.kv, .sequences = step.sequences, .heads = heads, .scale = spec.scale});
    const Projection output[] = {{output_, nullptr, out}};
    step.Multiply(output, mixed);
  }

  int64_t scratch_floats_per_row() const override {
    const int64_t heads = context_.spec.heads;
    return query_.scratch_floats_per_row() + 2 * Scratch::RowFloats(query_.width()) +
           Scratch::RowFloats(mla_.kv_rank + context_.spec.rope.width) +
           Scratch::RowFloats(heads * (mla_.nope + mla_.value)) + 2 * Scratch::RowFloats(heads * mla_.value);
  }

 private:
  AttentionContext context_;
  MlaSpec mla_;
  LatentQuery query_;
  const Matrix *kv_b_, *output_;
};

}  // namespace

std::unique_ptr<AttentionPart> MakeLatentAttention(TensorLoader& loader, const AttentionContext& context) {
  if (context.spec.mla->absorbed) {
    return std::make_unique<AbsorbedAttention>(loader, context);
  }
  return std::make_unique<ExpandedAttention>(loader, context);
}

}  // namespace barn
