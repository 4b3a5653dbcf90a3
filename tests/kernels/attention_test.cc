#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/kv_rows.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

struct Case {
  std::string name;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t k_width = 64;
  int64_t v_width = 64;
  KvType type = KvType::kF16;
  bool v_is_k_prefix = false;
  float softcap = 0;
  int64_t window = 0;
  int64_t chunk = 0;
  bool sinks = false;
  bool slopes = false;
  bool both_ways = false;
  int64_t block_tokens = 16;
};

const Case kCases[] = {
    {.name = "gqa f16"},
    {.name = "gqa f32", .type = KvType::kF32},
    {.name = "one kv head", .heads = 4, .kv_heads = 1, .k_width = 256, .v_width = 256},
    {.name = "no groups, odd widths", .heads = 3, .kv_heads = 3, .k_width = 80, .v_width = 72, .block_tokens = 7},
    {.name = "softcap", .softcap = 5.0f},
    {.name = "window", .window = 100},
    {.name = "window of one", .window = 1},
    {.name = "chunks", .chunk = 192},
    {.name = "sinks in a window", .heads = 16, .kv_heads = 2, .window = 128, .sinks = true},
    {.name = "slopes", .heads = 12, .kv_heads = 12, .slopes = true},
    {.name = "slopes in a window", .heads = 20, .kv_heads = 1, .window = 100, .slopes = true},
    {.name = "latent", .heads = 20, .kv_heads = 1, .k_width = 96, .v_width = 80, .v_is_k_prefix = true},
    {.name = "gqa q8_0", .type = KvType::kQ8_0},
    {.name = "window q8_0", .type = KvType::kQ8_0, .window = 100, .block_tokens = 7},
    {.name = "one kv head q8_0", .heads = 4, .kv_heads = 1, .k_width = 256, .v_width = 256, .type = KvType::kQ8_0},
    {.name = "odd widths q8_0",
     .heads = 6,
     .kv_heads = 3,
     .k_width = 80,
     .v_width = 72,
     .type = KvType::kQ8_0,
     .window = 100,
     .block_tokens = 7},
    {.name = "latent q8_0",
     .heads = 20,
     .kv_heads = 1,
     .k_width = 96,
     .v_width = 80,
     .type = KvType::kQ8_0,
     .v_is_k_prefix = true},
    {.name = "gqa q4_0", .type = KvType::kQ4_0},
    {.name = "one kv head q4_0", .heads = 4, .kv_heads = 1, .k_width = 256, .v_width = 256, .type = KvType::kQ4_0},
    {.name = "odd widths q4_0",
     .heads = 6,
     .kv_heads = 3,
     .k_width = 80,
     .v_width = 72,
     .type = KvType::kQ4_0,
     .window = 100,
     .block_tokens = 7},
    {.name = "latent q4_0",
     .heads = 20,
     .kv_heads = 1,
     .k_width = 96,
     .v_width = 80,
     .type = KvType::kQ4_0,
     .v_is_k_prefix = true},
};

// A sequence comes in one step.
const Case kBothWays[] = {
    {.name = "both ways", .both_ways = true},
    {.name = "both ways, q8_0", .type = KvType::kQ8_0, .both_ways = true},
    {.name = "both ways, q4_0", .type = KvType::kQ4_0, .both_ways = true},
    {.name = "both ways, odd widths",
     .heads = 3,
     .kv_heads = 3,
     .k_width = 80,
     .v_width = 72,
     .type = KvType::kF32,
     .both_ways = true,
     .block_tokens = 7},
    {.name = "both ways in a window", .window = 101, .both_ways = true},
    {.name = "both ways, slopes", .heads = 12, .kv_heads = 12, .slopes = true, .both_ways = true},
};

// A sequence of `tokens` random queries, keys and values, and a cache with its blocks in scattered order.
class World {
 public:
  World(const Case& c, int64_t tokens, uint32_t seed)
      : c_(c),
        tokens_(tokens),
        q_(RandomFloats(tokens * c.heads * c.k_width, seed)),
        k_(RandomFloats(tokens * c.kv_heads * c.k_width, seed + 1)),
        v_(RandomFloats(tokens * c.kv_heads * c.v_width, seed + 2)),
        sinks_(RandomFloats(c.heads, seed + 3, 2.0f)),
        slopes_(c.heads),
        stored_k_(Stored(k_, c.k_width)),
        stored_v_(Stored(v_, c.v_width)) {
    for (int64_t h = 0; h < c.heads; ++h) slopes_[h] = std::exp2(-8.0f * static_cast<float>(h + 1) / c.heads);
    const int64_t blocks = (tokens + c.block_tokens - 1) / c.block_tokens;
    blocks_.resize(blocks);
    std::vector<int32_t> all(blocks + 8);
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), std::mt19937(seed));
    std::copy_n(all.begin(), blocks, blocks_.begin());
    const int64_t rows = (blocks + 8) * c.block_tokens * c.kv_heads;
    // Bytes 0xff are NaN in floats and scales: a read of a position that was never written shows.
    k_cache_.assign(rows * c.k_width * 4, std::byte{0xff});
    v_cache_.assign(rows * c.v_width * 4, std::byte{0xff});
    k_scales_.assign(rows * KvScales(c.k_width), 0xffff);
    v_scales_.assign(rows * KvScales(c.v_width), 0xffff);
    kv_ = {.type = c.type,
           .k = k_cache_.data(),
           .v = c.v_is_k_prefix ? nullptr : v_cache_.data(),
           .k_scales = k_scales_.data(),
           .v_scales = c.v_is_k_prefix ? nullptr : v_scales_.data(),
           .block_tokens = c.block_tokens,
           .kv_heads = c.kv_heads,
           .k_width = c.k_width,
           .v_width = c.v_width,
           .v_is_k_prefix = c.v_is_k_prefix};
  }

  SequenceRows Rows(int64_t first_row, int64_t position, int64_t rows) const {
    return {.first_row = first_row, .rows = rows, .first_position = position, .blocks = blocks_};
  }

  Tensor Queries(int64_t position) { return RowsOf(q_, c_.heads * c_.k_width, position); }
  Tensor Keys(int64_t position) { return RowsOf(k_, c_.kv_heads * c_.k_width, position); }
  Tensor Values(int64_t position) { return RowsOf(v_, c_.kv_heads * c_.v_width, position); }

  AttentionArgs Args(Tensor q, Tensor out, std::span<const SequenceRows> sequences) const {
    return {.q = q,
            .out = out,
            .kv = &kv_,
            .sequences = sequences,
            .heads = c_.heads,
            .scale = 0.2f,
            .softcap = c_.softcap,
            .window = c_.window,
            .chunk = c_.chunk,
            .sinks = c_.sinks ? sinks_.data() : nullptr,
            .both_ways = c_.both_ways,
            .slopes = c_.slopes ? slopes_.data() : nullptr};
  }

  // Attention of one row in f64; `magnitude` is the weighted sum of |v|, the measure of rounding errors.
  std::vector<double> Reference(int64_t position, std::vector<double>& magnitude) const {
    std::vector<double> out;
    magnitude.clear();
    for (int64_t h = 0; h < c_.heads; ++h) {
      const int64_t kv_head = h / (c_.heads / c_.kv_heads);
      int64_t begin = c_.window > 0 ? std::max<int64_t>(0, position - c_.window + 1) : 0;
      if (c_.chunk > 0) begin = std::max(begin, position / c_.chunk * c_.chunk);
      int64_t end = position + 1;
      if (c_.both_ways) {
        begin = c_.window > 0 ? std::max<int64_t>(0, position - c_.window / 2) : 0;
        end = c_.window > 0 ? std::min(tokens_, position + c_.window / 2 + 1) : tokens_;
      }
      std::vector<double> weights;
      for (int64_t p = begin; p < end; ++p) {
        double score = 0;
        for (int64_t i = 0; i < c_.k_width; ++i) {
          score += double{q_[(position * c_.heads + h) * c_.k_width + i]} *
                   stored_k_[(p * c_.kv_heads + kv_head) * c_.k_width + i];
        }
        score *= 0.2f;
        if (c_.slopes) score -= double{slopes_[h]} * static_cast<double>(std::abs(position - p));
        weights.push_back(c_.softcap > 0 ? c_.softcap * std::tanh(score / c_.softcap) : score);
      }
      double max = *std::max_element(weights.begin(), weights.end());
      if (c_.sinks) max = std::max<double>(max, sinks_[h]);
      double sum = c_.sinks ? std::exp(sinks_[h] - max) : 0;
      for (double& weight : weights) sum += weight = std::exp(weight - max);
      for (int64_t i = 0; i < c_.v_width; ++i) {
        double value = 0;
        double absolute = 0;
        for (int64_t p = begin; p < end; ++p) {
          const double v = c_.v_is_k_prefix ? stored_k_[(p * c_.kv_heads + kv_head) * c_.k_width + i]
                                            : stored_v_[(p * c_.kv_heads + kv_head) * c_.v_width + i];
          value += weights[p - begin] / sum * v;
          absolute += weights[p - begin] / sum * std::abs(v);
        }
        out.push_back(value);
        magnitude.push_back(absolute);
      }
    }
    return out;
  }

  const Case& c() const { return c_; }
  const KvLayer& kv() const { return kv_; }
  int64_t tokens() const { return tokens_; }
  int64_t out_width() const { return c_.heads * c_.v_width; }

 private:
  // What the cache keeps of rows of values: stored by the portable kernels, whose error kv_rows_test bounds.
  std::vector<float> Stored(const std::vector<float>& values, int64_t width) const {
    const FloatKernels& kernels = FloatKernelsFor(Isa::kScalar);
    std::vector<float> stored = values;
    std::vector<int8_t> codes(width);
    std::vector<uint8_t> nibbles(KvCodeBytes(KvType::kQ4_0, width));
    std::vector<uint16_t> halves(width);  // Or scales.
    for (size_t at = 0; at < values.size(); at += width) {
      if (c_.type == KvType::kF16) {
        kernels.float_to_half(&values[at], halves.data(), width);
        kernels.half_to_float(halves.data(), &stored[at], width);
      } else if (c_.type == KvType::kQ8_0) {
        kernels.float_to_q8(&values[at], codes.data(), halves.data(), width);
        kernels.q8_to_float(codes.data(), halves.data(), &stored[at], width);
      } else if (c_.type == KvType::kQ4_0) {
        kernels.float_to_q4(&values[at], nibbles.data(), halves.data(), width);
        kernels.q4_to_float(nibbles.data(), halves.data(), &stored[at], width);
      }
    }
    return stored;
  }

  Tensor RowsOf(std::vector<float>& values, int64_t cols, int64_t position) const {
    return {.data = values.data() + position * cols, .rows = tokens_ - position, .cols = cols, .stride = cols};
  }

  Case c_;
  int64_t tokens_;
  std::vector<float> q_;
  std::vector<float> k_;
  std::vector<float> v_;
  std::vector<float> sinks_;
  std::vector<float> slopes_;
  std::vector<int32_t> blocks_;
  std::vector<std::byte> k_cache_;
  std::vector<std::byte> v_cache_;
  std::vector<uint16_t> k_scales_;
  std::vector<uint16_t> v_scales_;
  std::vector<float> stored_k_;
  std::vector<float> stored_v_;
  KvLayer kv_;
};

AttentionPlan PlanOf(const AttentionArgs& args) {
  AttentionPlan plan;
  PlanAttention(args, plan);
  return plan;
}

// Runs the items in pieces and backwards, as threads may, each with scratch memory full of NaN.
void Attend(Isa isa, const AttentionArgs& args, int64_t piece = 3) {
  const AttentionPlan plan = PlanOf(args);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> partials(plan.partial_floats, nan);
  for (int64_t end = plan.items; end > 0; end -= piece) {
    std::vector<float> scratch(plan.scratch_floats, nan);
    AttendRange(isa, args, plan, std::max<int64_t>(0, end - piece), end, scratch.data(), partials.data());
  }
  for (int64_t m = plan.merges; m > 0; --m) MergeRange(isa, args, plan, m - 1, m, partials.data());
}

// Feeds the sequence in steps of the given sizes (the last repeats) and returns all rows of out.
std::vector<float> Feed(Isa isa, World& world, const std::vector<int64_t>& steps) {
  std::vector<float> out(world.tokens() * world.out_width());
  int64_t position = 0;
  for (size_t s = 0; position < world.tokens(); ++s) {
    const int64_t rows = std::min(steps[std::min(s, steps.size() - 1)], world.tokens() - position);
    const SequenceRows sequence = world.Rows(0, position, rows);
    WriteKvRows(isa, world.kv(), {&sequence, 1}, world.Keys(position), world.Values(position), 0, rows);
    const Tensor result = {.data = out.data() + position * world.out_width(),
                           .rows = rows,
                           .cols = world.out_width(),
                           .stride = world.out_width()};
    Attend(isa, world.Args(world.Queries(position), result, {&sequence, 1}));
    position += rows;
  }
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Attention, MatchesF64) {
  std::vector<Case> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kBothWays), std::end(kBothWays));
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c : cases) {
      World world(c, 300, 11);
      const std::vector<float> out = Feed(isa, world, {300});
      for (const int64_t position : {0, 1, 31, 99, 100, 191, 192, 255, 256, 299}) {
        std::vector<double> magnitude;
        const std::vector<double> expected = world.Reference(position, magnitude);
        for (int64_t i = 0; i < world.out_width(); ++i) {
          // A score of magnitude 20 that sums 100 products and the exponential carry about 100 roundings of 20; the
          // weighted sum adds one for each position.
          const double tolerance = (2000 + 300) * kEpsilon * magnitude[i];
          ASSERT_NEAR(out[position * world.out_width() + i], expected[i], tolerance)
              << IsaName(isa) << ", " << c.name << ", position " << position << ", element " << i;
        }
      }
    }
  }
}

TEST(Attention, ChunkedPromptsAndDecodingGiveTheSameBits) {
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(std::string(IsaName(isa)) + ", " + c.name);
      World at_once(c, 300, 12);
      const std::vector<float> expected = Feed(isa, at_once, {300});
      for (const std::vector<int64_t>& steps : {std::vector<int64_t>{1}, {5}, {64}, {250, 1}, {37, 219, 3}}) {
        World world(c, 300, 12);
        ASSERT_TRUE(SameBits(Feed(isa, world, steps), expected)) << "first step " << steps[0];
      }
    }
  }
}

TEST(Attention, ARowHasTheSameBitsAloneAndInABatch) {
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(std::string(IsaName(isa)) + ", " + c.name);
      // One generating row of a long sequence, once alone (split over chunks) and once with the prompt rows around it
      // in the same step, of enough tiles that nothing is split.
      World world(c, 1100, 13);
      const std::vector<float> all = Feed(isa, world, {1100});
      const int64_t position = 1099;
      std::vector<float> alone(world.out_width());
      const SequenceRows one = world.Rows(0, position, 1);
      const AttentionArgs args = world.Args(world.Queries(position), View(alone, 1, world.out_width()), {&one, 1});
      ASSERT_TRUE(PlanOf(args).split);
      std::vector<float> unused(1100 * world.out_width());
      const SequenceRows whole = world.Rows(0, 0, 1100);
      ASSERT_FALSE(PlanOf(world.Args(world.Queries(0), View(unused, 1100, world.out_width()), {&whole, 1})).split);
      Attend(isa, args, 1);
      ASSERT_EQ(std::memcmp(alone.data(), all.data() + position * world.out_width(), alone.size() * sizeof(float)), 0);

      // Two views of the sequence in one step: rows of different sequences do not meet.
      std::vector<float> pair(3 * world.out_width());
      const SequenceRows both[] = {world.Rows(0, 600, 1), world.Rows(1, 601, 2)};
      Attend(isa, world.Args(world.Queries(600), View(pair, 3, world.out_width()), both));
      ASSERT_EQ(std::memcmp(pair.data(), all.data() + 600 * world.out_width(), pair.size() * sizeof(float)), 0);
    }
  }
}

TEST(Attention, BothWaysASequenceHasTheSameBitsAloneAndBesideOthers) {
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c : kBothWays) {
      SCOPED_TRACE(std::string(IsaName(isa)) + ", " + c.name);
      World world(c, 600, 15);
      const std::vector<float> alone = Feed(isa, world, {600});
      // Twice in one step, as two sequences; and its first 40 positions, which then see no more than each other.
      std::vector<float> q(2 * 600 * c.heads * c.k_width);
      std::copy_n(world.Queries(0).data, q.size() / 2, q.begin());
      std::copy_n(world.Queries(0).data, q.size() / 2, q.begin() + q.size() / 2);
      std::vector<float> out(2 * 600 * world.out_width());
      const SequenceRows twice[] = {world.Rows(0, 0, 600), world.Rows(600, 0, 600)};
      Attend(isa, world.Args(View(q, 1200, c.heads * c.k_width), View(out, 1200, world.out_width()), twice));
      ASSERT_EQ(std::memcmp(out.data(), alone.data(), alone.size() * sizeof(float)), 0);
      ASSERT_EQ(std::memcmp(out.data() + alone.size(), alone.data(), alone.size() * sizeof(float)), 0);
      World shorter(c, 40, 15);
      EXPECT_FALSE(SameBits(Feed(isa, shorter, {40}),
                            {alone.begin(), alone.begin() + 40 * static_cast<int64_t>(world.out_width())}));
    }
  }
}

TEST(Attention, ManySplitsOfTheItemsGiveTheSameBits) {
  const Case& c = kCases[0];
  for (const Isa isa : RunnableIsas()) {
    World world(c, 1500, 14);
    Feed(isa, world, {1500});
    const SequenceRows last = world.Rows(0, 1490, 10);
    std::vector<float> expected(10 * world.out_width());
    Attend(isa, world.Args(world.Queries(1490), View(expected, 10, world.out_width()), {&last, 1}), 1);
    for (const int64_t piece : {2, 5, 1000}) {
      std::vector<float> out(10 * world.out_width());
      Attend(isa, world.Args(world.Queries(1490), View(out, 10, world.out_width()), {&last, 1}), piece);
      ASSERT_TRUE(SameBits(out, expected)) << piece;
    }
  }
}

}  // namespace
}  // namespace barn
