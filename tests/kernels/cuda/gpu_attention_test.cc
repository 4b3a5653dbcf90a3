#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/attention.h"
#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

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
    {.name = "no groups, odd widths", .heads = 3, .kv_heads = 3, .k_width = 82, .v_width = 70, .block_tokens = 7},
    {.name = "softcap", .softcap = 5.0f},
    {.name = "window", .window = 50},
    {.name = "window of one", .window = 1},
    {.name = "chunks", .chunk = 40},
    {.name = "sinks in a window", .heads = 16, .kv_heads = 2, .window = 64, .sinks = true},
    {.name = "wide, more heads than a block has", .heads = 18, .kv_heads = 1, .k_width = 128, .v_width = 128},
    {.name = "both ways", .both_ways = true},
    {.name = "both ways in a window", .type = KvType::kF32, .window = 51, .both_ways = true},
    {.name = "both ways, slopes",
     .heads = 12,
     .kv_heads = 12,
     .k_width = 32,
     .v_width = 32,
     .slopes = true,
     .both_ways = true},
    {.name = "latent",
     .heads = 10,
     .kv_heads = 1,
     .k_width = 576,
     .v_width = 512,
     .v_is_k_prefix = true,
     .block_tokens = 8},
    {.name = "gqa q8_0", .type = KvType::kQ8_0},
    {.name = "odd widths q8_0",
     .heads = 6,
     .kv_heads = 3,
     .k_width = 80,
     .v_width = 72,
     .type = KvType::kQ8_0,
     .window = 30,
     .block_tokens = 7},
    {.name = "latent q8_0",
     .heads = 5,
     .kv_heads = 1,
     .k_width = 96,
     .v_width = 80,
     .type = KvType::kQ8_0,
     .v_is_k_prefix = true},
    {.name = "gqa q4_0", .type = KvType::kQ4_0},
    {.name = "odd widths q4_0",
     .heads = 6,
     .kv_heads = 3,
     .k_width = 80,
     .v_width = 72,
     .type = KvType::kQ4_0,
     .window = 30,
     .block_tokens = 7},
    {.name = "latent q4_0",
     .heads = 5,
     .kv_heads = 1,
     .k_width = 96,
     .v_width = 80,
     .type = KvType::kQ4_0,
     .v_is_k_prefix = true},
};

constexpr float kScale = 0.03f;  // So that many positions weigh something.

// A sequence of `tokens` random queries, keys and values, its cache in blocks in scattered order.
class World {
 public:
  World(const Case& c, int64_t tokens)
      : c_(c),
        tokens_(tokens),
        q_(RandomActivations(tokens * c.heads * c.k_width, 1)),
        sink_values_(RandomActivations(c.heads, 4)),
        slope_values_(MakeSlopes(c.heads)),
        blocks_host_(MakeBlocks()),
        cache_rows_(static_cast<int64_t>(blocks_host_.size() + 8) * c.block_tokens * c.kv_heads),
        k_(static_cast<size_t>(cache_rows_ * c.k_width * 4)),
        v_(static_cast<size_t>(cache_rows_ * c.v_width * 4)),
        k_scales_(static_cast<size_t>(cache_rows_ * KvScales(c.k_width))),
        v_scales_(static_cast<size_t>(cache_rows_ * KvScales(c.v_width))),
        blocks_(blocks_host_),
        sinks_(sink_values_),
        slopes_(slope_values_) {
    kv_ = {.type = c.type,
           .k = k_.data(),
           .v = c.v_is_k_prefix ? nullptr : v_.data(),
           .k_scales = k_scales_.data(),
           .v_scales = v_scales_.data(),
           .block_tokens = c.block_tokens,
           .kv_heads = c.kv_heads,
           .k_width = c.k_width,
           .v_width = c.v_width,
           .v_is_k_prefix = c.v_is_k_prefix};
    Write();
  }

  const gpu::KvPlanes& kv() const { return kv_; }
  int64_t out_width() const { return c_.heads * c_.v_width; }

  // Attention of rows [position, position + rows); splits as in AttentionArgs.
  std::vector<float> Attend(int64_t position, int64_t rows, int64_t splits) const {
    const gpu::AttentionShape shape = gpu::ShapeOfAttention(kv_, c_.heads);
    std::vector<gpu::AttentionTile> tiles;
    for (int64_t r = 0; r < rows; r += shape.tile_rows) {
      tiles.push_back({static_cast<int32_t>(r), static_cast<int32_t>(std::min(shape.tile_rows, rows - r)),
                       static_cast<int32_t>(tokens_)});
    }
    const DeviceArray<gpu::AttentionTile> on_tiles(tiles);
    const int64_t width = c_.heads * c_.k_width;
    const PlacedRows q(std::vector<float>(q_.begin() + position * width, q_.begin() + (position + rows) * width), rows,
                       width, {.gap = 3});
    const PlacedRows out(std::vector<float>(static_cast<size_t>(rows * out_width()), NAN), rows, out_width(),
                         {.offset = 1});
    const auto tile_count = static_cast<int64_t>(tiles.size());
    const DeviceArray<float> partials(
        static_cast<size_t>(gpu::AttentionPartialFloats(kv_, c_.heads, tile_count, splits)));
    const StepOnDevice step(*this, position, rows);
    const TestStream stream;
    gpu::Attention({.q = q.view(),
                    .out = out.view(),
                    .kv = kv_,
                    .step = step.rows,
                    .tiles = on_tiles.data(),
                    .tile_count = tile_count,
                    .splits = splits,
                    .partials = partials.data(),
                    .heads = c_.heads,
                    .scale = kScale,
                    .softcap = c_.softcap,
                    .window = c_.window,
                    .chunk = c_.chunk,
                    .sinks = c_.sinks ? sinks_.data() : nullptr,
                    .both_ways = c_.both_ways,
                    .slopes = c_.slopes ? slopes_.data() : nullptr},
                   stream.get());
    stream.Wait();
    return out.Values();
  }

  // Compares one row with f64.
  void Expect(const float* got, int64_t position) const {
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
      double score_error = 0;
      for (int64_t p = begin; p < end; ++p) {
        double score = 0;
        double magnitude = 0;
        for (int64_t i = 0; i < c_.k_width; ++i) {
          const double term = double{q_[static_cast<size_t>((position * c_.heads + h) * c_.k_width + i)]} *
                              Key(p, kv_head, i) * double{kScale};
          score += term;
          magnitude += std::abs(term);
        }
        if (c_.slopes) {
          const double bias =
              double{slope_values_[static_cast<size_t>(h)]} * static_cast<double>(std::abs(position - p));
          score -= bias;
          magnitude += bias;
        }
        score_error = std::max(score_error, static_cast<double>(c_.k_width + 8) * 0x1p-24 * magnitude);
        weights.push_back(c_.softcap > 0 ? c_.softcap * std::tanh(score / c_.softcap) : score);
      }
      double max = *std::max_element(weights.begin(), weights.end());
      if (c_.sinks) max = std::max<double>(max, sink_values_[static_cast<size_t>(h)]);
      double sum = c_.sinks ? std::exp(sink_values_[static_cast<size_t>(h)] - max) : 0;
      for (double& weight : weights) sum += weight = std::exp(weight - max);
      // Weights and their sum are each off by what scores are off, and by a rounding for each position.
      const double relative = 2 * score_error + static_cast<double>(weights.size() + 32) * 0x1p-23;
      for (int64_t i = 0; i < c_.v_width; ++i) {
        double value = 0;
        double magnitude = 0;
        for (int64_t p = begin; p < end; ++p) {
          const double term = weights[static_cast<size_t>(p - begin)] / sum * Value(p, kv_head, i);
          value += term;
          magnitude += std::abs(term);
        }
        // Weights that f32 cannot hold are lost.
        ASSERT_LE(std::abs(got[h * c_.v_width + i] - value), relative * magnitude + 1e-30)
            << "position " << position << " head " << h << " column " << i;
      }
    }
  }

 private:
  struct StepOnDevice {
    StepOnDevice(const World& world, int64_t position, int64_t rows)
        : positions(Iota(position, rows)), table_begin(std::vector<int32_t>(static_cast<size_t>(rows), 0)) {
      this->rows = {.positions = positions.data(), .table_begin = table_begin.data(), .blocks = world.blocks_.data()};
    }
    static std::vector<int32_t> Iota(int64_t first, int64_t count) {
      std::vector<int32_t> values(static_cast<size_t>(count));
      std::iota(values.begin(), values.end(), static_cast<int32_t>(first));
      return values;
    }
    DeviceArray<int32_t> positions, table_begin;
    gpu::StepRows rows;
  };

  static std::vector<float> MakeSlopes(int64_t heads) {
    std::vector<float> slopes;
    for (int64_t h = 0; h < heads; ++h) slopes.push_back(std::exp2(-8.0f * static_cast<float>(h + 1) / heads));
    return slopes;
  }

  std::vector<int32_t> MakeBlocks() const {
    const int64_t blocks = (tokens_ + c_.block_tokens - 1) / c_.block_tokens;
    std::vector<int32_t> all(static_cast<size_t>(blocks + 8));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), std::mt19937(5));
    all.resize(static_cast<size_t>(blocks));
    return all;
  }

  // By the kernel that serves, and reads back what is stored. What was never written is NaN.
  void Write() {
    const PlacedRows k(RandomActivations(tokens_ * c_.kv_heads * c_.k_width, 2), tokens_, c_.kv_heads * c_.k_width, {});
    const PlacedRows v(RandomActivations(tokens_ * c_.kv_heads * c_.v_width, 3), tokens_, c_.kv_heads * c_.v_width, {});
    const StepOnDevice step(*this, 0, tokens_);
    const TestStream stream;
    gpu::WriteKv(kv_, step.rows, k.view(), c_.v_is_k_prefix ? gpu::Rows{} : v.view(), stream.get());
    stream.Wait();
    stored_k_ = Stored(k_.Values(), k_scales_.Values(), c_.k_width);
    stored_v_ = Stored(v_.Values(), v_scales_.Values(), c_.v_width);
  }

  std::vector<float> Stored(const std::vector<uint8_t>& bytes, const std::vector<uint16_t>& scales,
                            int64_t width) const {
    std::vector<float> values;
    for (int64_t i = 0; i < cache_rows_ * width; ++i) {
      if (c_.type == KvType::kF16) {
        values.push_back(HalfToFloat(reinterpret_cast<const uint16_t*>(bytes.data())[i]));
      } else if (c_.type == KvType::kF32) {
        values.push_back(reinterpret_cast<const float*>(bytes.data())[i]);
      } else {
        const int64_t block = i / width * KvScales(width) + i % width / 32, at = i % width % 32;
        const uint8_t pair = bytes[static_cast<size_t>(block * 16 + at % 16)];
        const int code = c_.type == KvType::kQ8_0 ? static_cast<int8_t>(bytes[static_cast<size_t>(i)])
                                                  : (at < 16 ? pair & 15 : pair >> 4) - 8;
        values.push_back(HalfToFloat(scales[static_cast<size_t>(block)]) * static_cast<float>(code));
      }
    }
    return values;
  }
  int64_t CacheRow(int64_t position, int64_t kv_head) const {
    const int64_t block = blocks_host_[static_cast<size_t>(position / c_.block_tokens)];
    return (block * c_.kv_heads + kv_head) * c_.block_tokens + position % c_.block_tokens;
  }
  double Key(int64_t position, int64_t kv_head, int64_t i) const {
    return stored_k_[static_cast<size_t>(CacheRow(position, kv_head) * c_.k_width + i)];
  }
  double Value(int64_t position, int64_t kv_head, int64_t i) const {
    if (c_.v_is_k_prefix) return Key(position, kv_head, i);
    return stored_v_[static_cast<size_t>(CacheRow(position, kv_head) * c_.v_width + i)];
  }

  Case c_;
  int64_t tokens_;
  std::vector<float> q_, sink_values_, slope_values_;
  std::vector<int32_t> blocks_host_;
  int64_t cache_rows_;
  DeviceArray<uint8_t> k_, v_;
  DeviceArray<uint16_t> k_scales_, v_scales_;
  DeviceArray<int32_t> blocks_;
  DeviceArray<float> sinks_, slopes_;
  gpu::KvPlanes kv_;
  std::vector<float> stored_k_, stored_v_;
};

TEST_P(OnGpu, PromptsMatchExactArithmetic) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    constexpr int64_t kTokens = 75;
    const World world(c, kTokens);
    for (const auto& [position, rows] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 33}, {41, 34}}) {
      const std::vector<float> got = world.Attend(position, rows, 1);
      for (int64_t r = 0; r < rows; ++r) world.Expect(got.data() + r * world.out_width(), position + r);
    }
  }
}

TEST_P(OnGpu, SplitsMatchExactArithmetic) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    constexpr int64_t kTokens = 2 * gpu::kAttentionSplit + 40;
    if (c.k_width > 128 && GetParam() != 0) continue;  // The same code; three schedules of it take long.
    const World world(c, kTokens);
    for (const int64_t position : {gpu::kAttentionSplit - 1, gpu::kAttentionSplit, kTokens - 1}) {
      const std::vector<float> exact = world.Attend(position, 1, 3);
      world.Expect(exact.data(), position);
      // More than there are, and fewer, so that the last takes the rest.
      EXPECT_EQ(world.Attend(position, 1, 5), exact);
      world.Expect(world.Attend(position, 1, 2).data(), position);
    }
  }
}

TEST_P(OnGpu, RowDoesNotDependOnTheRowsOfItsStep) {
  for (const Case& c : kCases) {
    if (c.k_width > 128) continue;
    SCOPED_TRACE(c.name);
    const World world(c, 64);
    const std::vector<float> all = world.Attend(20, 44, 1);
    for (const int64_t position : {20, 37, 63}) {
      const std::vector<float> one = world.Attend(position, 1, 1);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + (position - 20) * world.out_width()));
    }
  }
}

}  // namespace
}  // namespace barn
