#include "worker/model/attention.h"

#include <cmath>

#include "worker/model/mla.h"

namespace barn {
namespace {

// Slopes of ALiBi (Press et al. 2022, section 3, and the authors' code for other numbers of heads): with n the largest
// power of two up to `heads`, head h < n has 2^(-max (h + 1) / n); the others take every second slope of 2n heads.
std::vector<float> AlibiSlopes(int64_t heads, double max) {
  int64_t n = 1;
  while (2 * n <= heads) n *= 2;
  std::vector<float> slopes;
  for (int64_t h = 0; h < heads; ++h) {
    const double exponent = h < n ? max * static_cast<double>(h + 1) / static_cast<double>(n)
                                  : max * static_cast<double>(2 * (h - n) + 1) / static_cast<double>(2 * n);
    slopes.push_back(static_cast<float>(std::exp2(-exponent)));
  }
  return slopes;
}

class GroupedAttention final : public AttentionPart {
 public:
  GroupedAttention(TensorLoader& loader, const AttentionContext& context);

  void Forward(const Step& step, Tensor x, Tensor out) const override;
  int64_t scratch_floats_per_row() const override {
    return Scratch::RowFloats(q_width_) + Scratch::RowFloats(k_width_) + Scratch::RowFloats(v_width_) +
           Scratch::RowFloats(mixed_.total());
  }

 private:
  void NormHeads(const Step& step, Tensor x, const float* weight) const;
  void Temper(const Step& step, Tensor q) const;

  AttentionContext context_;
  bool shares_heads_;  // Whole groups of query heads go with their KV head; or every rank has all.
  RankCut heads_, kv_heads_;
  RankCut mixed_, out_;                  // Columns of what all heads give, and of D.
  int64_t q_width_, k_width_, v_width_;  // Of a row, over this rank's heads.
  const Matrix *q_, *k_, *v_, *output_;
  const float *q_bias_, *k_bias_, *v_bias_, *output_bias_;
  const float *q_norm_, *k_norm_, *sinks_, *slopes_;
};

// A count of heads as a count of rows.
RankCut Times(RankCut cut, int64_t factor) {
  for (int64_t& bound : cut.bounds) {
    bound *= factor;
  }
  cut.mine = {.first = cut.mine.first * factor, .count = cut.mine.count * factor};
  return cut;
}

GroupedAttention::GroupedAttention(TensorLoader& loader, const AttentionContext& context)
    : context_(context),
      shares_heads_(SharesHeads(context.spec.kv.kv_heads, context.ranks->ranks())),
      kv_heads_(shares_heads_ ? context.ranks->Items(context.spec.kv.kv_heads)
                              : RankGroup::All(context.spec.kv.kv_heads)),
      out_(context.ranks->Rows(context.width)) {
  const AttentionSpec& spec = context.spec;
  heads_ = Times(kv_heads_, spec.heads / spec.kv.kv_heads);
  mixed_ = Times(heads_, spec.kv.v_width);
  const RankCut q = Times(heads_, spec.kv.k_width), k = Times(kv_heads_, spec.kv.k_width);
  const RankCut v = Times(kv_heads_, spec.kv.v_width);
  q_width_ = q.mine.count, k_width_ = k.mine.count, v_width_ = v.mine.count;
  const auto name = [&](std::string_view tensor) { return LayerTensor(context.layer, tensor); };
  const auto matrix = [&](std::string_view tensor, const RankCut& rows, int64_t cols) {
    return loader.MatrixRows(name(tensor), {.rows = rows.total(), .cols = cols}, rows.mine);
  };
  if (spec.fused_qkv) {
    const TensorLoader::MatrixPart rows[] = {{q.total(), q.mine}, {k.total(), k.mine}, {v.total(), v.mine}};
    const auto parts = loader.Split(name("attn_qkv.weight"), rows, context.width);
    q_ = parts[0], k_ = parts[1], v_ = parts[2];
  } else {
    q_ = matrix("attn_q.weight", q, context.width);
    k_ = matrix("attn_k.weight", k, context.width);
    v_ = matrix("attn_v.weight", v, context.width);
  }
  output_ = matrix("attn_output.weight", out_, mixed_.total());
  if (spec.fused_qkv) {
    const int64_t rows = q.total() + k.total() + v.total();
    const float* bias = loader.Vector(name("attn_qkv.bias"), rows, spec.qkv_bias);
    q_bias_ = Part(bias, q.mine);
    k_bias_ = Part(bias, {q.total() + k.mine.first, k.mine.count});
    v_bias_ = Part(bias, {q.total() + k.total() + v.mine.first, v.mine.count});
  } else {
    q_bias_ = Part(loader.Vector(name("attn_q.bias"), q.total(), spec.qkv_bias), q.mine);
    k_bias_ = Part(loader.Vector(name("attn_k.bias"), k.total(), spec.qkv_bias), k.mine);
    v_bias_ = Part(loader.Vector(name("attn_v.bias"), v.total(), spec.qkv_bias), v.mine);
  }
  output_bias_ = Part(loader.Vector(name("attn_output.bias"), context.width, spec.output_bias), out_.mine);
  const bool per_head = spec.qk_norm_over == HeadNorm::kPerHead;
  q_norm_ = loader.Vector(name("attn_q_norm.weight"), per_head ? spec.kv.k_width : q.total(), spec.qk_norm);
  k_norm_ = loader.Vector(name("attn_k_norm.weight"), per_head ? spec.kv.k_width : k.total(), spec.qk_norm);
  sinks_ =
      Part(loader.Vector(name("attn_sinks.weight"), spec.heads, spec.sinks ? Presence::kRequired : Presence::kAbsent),
           heads_.mine);
  slopes_ = spec.slope_max > 0 ? Part(loader.Keep(AlibiSlopes(spec.heads, spec.slope_max)), heads_.mine) : nullptr;
}

void GroupedAttention::Forward(const Step& step, Tensor x, Tensor out) const {
  const AttentionSpec& spec = context_.spec;
  Device& device = step.device;
  const Scratch::Frame frame(step.scratch);
  Tensor q = step.scratch.Take(x.rows, q_width_);
  Tensor k = step.scratch.Take(x.rows, k_width_);
  Tensor v = step.scratch.Take(x.rows, v_width_);
  Tensor mixed = step.scratch.Take(x.rows, mixed_.total());

  const Projection inputs[] = {{q_, q_bias_, q}, {k_, k_bias_, k}, {v_, v_bias_, v}};
  step.Multiply(inputs, x);
  NormHeads(step, q, q_norm_);
  NormHeads(step, k, k_norm_);
  Rotate(step, context_, q, heads_.mine.count, 0);
  Rotate(step, context_, k, kv_heads_.mine.count, 0);
  if (spec.unit_norm_after_rope) {
    for (const Tensor heads : {PerHead(q, spec.kv.k_width), PerHead(k, spec.kv.k_width)}) {
      device.RmsNorm(heads, nullptr, context_.norm_epsilon, heads);
    }
  }
  Temper(step, q);
  device.WriteKv(*context_.kv, step.sequences, k, v);
  device.Attention({.q = q,
                    .out = Columns(mixed, mixed_.mine),
                    .kv = context_.kv,
                    .sequences = step.sequences,
                    .heads = heads_.mine.count,
                    .scale = spec.scale,
                    .softcap = spec.softcap,
                    .window = spec.window,
                    .chunk = spec.chunk,
                    .sinks = sinks_,
                    .both_ways = spec.both_ways,
                    .slopes = slopes_});
  if (shares_heads_) {
    step.ranks.Complete(mixed, mixed_);
  }
  const Projection output[] = {{output_, output_bias_, Columns(out, out_.mine)}};
  step.Multiply(output, mixed);
}

void GroupedAttention::NormHeads(const Step& step, Tensor x, const float* weight) const {
  if (weight != nullptr) {
    const bool per_head = context_.spec.qk_norm_over == HeadNorm::kPerHead;
    const Tensor rows = per_head ? PerHead(x, context_.spec.kv.k_width) : x;
    step.device.RmsNorm(rows, weight, context_.norm_epsilon, rows);
  }
}

void GroupedAttention::Temper(const Step& step, Tensor q) const {
  const TemperatureSpec& temperature = context_.spec.temperature;
  if (temperature.scale == 0) {
    return;
  }
  const std::span<float> scales = step.row_scales.first(q.rows);
  for (int64_t t = 0; t < q.rows; ++t) {
    const int64_t spans = (step.positions[t] + temperature.offset) / temperature.span;
    scales[t] = static_cast<float>(1 + temperature.scale * std::log1p(static_cast<double>(spans)));
  }
  step.device.ScaleRows(q, scales);
}

}  // namespace

std::unique_ptr<AttentionPart> MakeAttention(TensorLoader& loader, const AttentionContext& context) {
  if (context.spec.mla) {
    return MakeLatentAttention(loader, context);
  }
  return std::make_unique<GroupedAttention>(loader, context);
}

void Rotate(const Step& step, const AttentionContext& context, Tensor x, int64_t heads, int64_t offset) {
  if (context.rope == nullptr) {
    return;
  }
  step.device.Rope({.x = x,
                    .heads = heads,
                    .head_width = x.cols / heads,
                    .offset = offset,
                    .width = context.spec.rope.width,
                    .pairs = context.spec.rope.pairs,
                    .positions = step.positions,
                    .inverse_frequencies = context.rope->inverse_frequencies,
                    .magnitude = context.rope->magnitude});
}

}  // namespace barn
