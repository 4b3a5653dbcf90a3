#pragma once

#include <cstdint>

#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/row_kernels.h"

// The inner loops of attention over one vector trait. The rules of row_kernels.h hold. Every sum has one accumulator
// per output (or lane of it) and runs upwards, so the blocking of queries and positions changes no bit.
namespace barn {

template <class Vec>
struct AttentionKernels {
  using V = typename Vec::V;
  static constexpr int kLanes = Vec::kLanes;

  // Keys or values as they lie in memory. Load gives the lanes from column w + c * kLanes of row j, where those from w
  // on to the last that is loaded beside them are all of one kStep, or w is a multiple of kStep. The lanes of kStep
  // columns are worth loading together.
  struct FloatRows {
    static constexpr int kStep = kLanes;
    const float* rows;
    int64_t width;
    FloatRows From(int64_t j) const { return {rows + j * width, width}; }
    V Load(int64_t j, int64_t w, int c) const { return Vec::Load(rows + j * width + w + c * kLanes); }
  };
  struct Q8Rows {
    static constexpr int kStep = 32;
    const void* const* rows;
    const uint16_t* const* scales;
    Q8Rows From(int64_t j) const { return {rows + j, scales + j}; }
    V Load(int64_t j, int64_t w, int c) const {
      const V scale = Vec::SetHalf(scales[j][w / 32 + c * kLanes / 32]);
      return Vec::Mul(scale, Vec::LoadBytes(static_cast<const int8_t*>(rows[j]) + w + c * kLanes));
    }
  };

  struct Q4Rows {
    static constexpr int kStep = 32;
    const void* const* rows;
    const uint16_t* const* scales;
    Q4Rows From(int64_t j) const { return {rows + j, scales + j}; }
    V Load(int64_t j, int64_t w, int c) const {
      const int64_t block = w / 32 + c * kLanes / 32;
      return Vec::LoadNibbles(static_cast<const uint8_t*>(rows[j]) + 16 * block, w % 32 + c * kLanes % 32,
                              Vec::SetHalf(scales[j][block]));
    }
  };

  // kQueries x kPositions dot products in registers.
  template <int kQueries, int kPositions, class Rows>
  static void ScoreTile(const float* q, const Rows& k, int64_t width, float* out, int64_t out_stride) {
    constexpr int kVectors = Rows::kStep / kLanes;
    V sums[kQueries][kPositions];
    for (int i = 0; i < kQueries; ++i) {
      for (int j = 0; j < kPositions; ++j) sums[i][j] = Vec::Set(0.0f);
    }
    for (int64_t w = 0; w < width; w += Rows::kStep) {
      for (int j = 0; j < kPositions; ++j) {
        for (int c = 0; c < kVectors; ++c) {
          const V key = k.Load(j, w, c);
          for (int i = 0; i < kQueries; ++i) {
            sums[i][j] = Vec::MulAdd(Vec::Load(q + i * width + w + c * kLanes), key, sums[i][j]);
          }
        }
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int j = 0; j < kPositions; j += 4) {
        Vec::StoreSums4(out + i * out_stride + j, sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
      }
    }
  }

  template <int kQueries, int kPositions, class Rows>
  static void ScoreRows(const float* q, const Rows& k, int64_t n, int64_t width, float* out, int64_t out_stride) {
    for (int64_t j = 0; j < n; j += kPositions) {
      ScoreTile<kQueries, kPositions>(q, k.From(j), width, out + j, out_stride);
    }
  }

  // 3 x 4 sums, 3 queries and a key fill the 16 AVX2 registers, 4 x 4 sums fit the 32 of AVX-512; a single query needs
  // 8 sums to hide the latency.
  template <class Rows>
  static void ScoresOf(const float* q, int64_t m, const Rows& k, int64_t n, int64_t width, float* out,
                       int64_t out_stride) {
    int64_t i = 0;
    while (i < m) {
      const int64_t left = m - i;
      if (kLanes == 16 && left >= 4) {
        ScoreRows<4, 4>(q + i * width, k, n, width, out + i * out_stride, out_stride);
        i += 4;
      } else if (left >= 3 && left != 4) {
        ScoreRows<3, 4>(q + i * width, k, n, width, out + i * out_stride, out_stride);
        i += 3;
      } else if (left >= 2) {
        ScoreRows<2, 4>(q + i * width, k, n, width, out + i * out_stride, out_stride);
        i += 2;
      } else {
        ScoreRows<1, 8>(q + i * width, k, n, width, out + i * out_stride, out_stride);
        i += 1;
      }
    }
  }

  static void Scores(const float* q, int64_t m, const float* k, int64_t n, int64_t width, float* out,
                     int64_t out_stride) {
    ScoresOf(q, m, FloatRows{k, width}, n, width, out, out_stride);
  }
  static void ScoresQ8(const float* q, int64_t m, const KvRowPointers& k, int64_t n, int64_t width, float* out,
                       int64_t out_stride) {
    ScoresOf(q, m, Q8Rows{k.rows, k.scales}, n, width, out, out_stride);
  }
  static void ScoresQ4(const float* q, int64_t m, const KvRowPointers& k, int64_t n, int64_t width, float* out,
                       int64_t out_stride) {
    ScoresOf(q, m, Q4Rows{k.rows, k.scales}, n, width, out, out_stride);
  }

  static void Softmax(float* s, int64_t begin, int64_t end, float softcap, float* max, float* sum) {
    const int64_t low = begin / 16 * 16;
    const int64_t high = (end + 15) / 16 * 16;
    const float nothing = -__builtin_inff();
    for (int64_t j = low; j < begin; ++j) s[j] = 0.0f;
    for (int64_t j = end; j < high; ++j) s[j] = 0.0f;
    if (softcap > 0) {
      for (int64_t j = low; j < high; j += kLanes) {
        Vec::Store(s + j, RowKernels<Vec>::CapOf(Vec::Load(s + j), Vec::Set(softcap)));
      }
    }
    for (int64_t j = low; j < begin; ++j) s[j] = nothing;
    for (int64_t j = end; j < high; ++j) s[j] = nothing;
    V most = Vec::Set(nothing);
    for (int64_t j = low; j < high; j += kLanes) most = Vec::Max(most, Vec::Load(s + j));
    *max = Vec::MaxLane(most);
    const V shift = Vec::Set(*max);
    V total = Vec::Set(0.0f);
    for (int64_t j = low; j < high; j += kLanes) {
      const V p = RowKernels<Vec>::ExpOf(Vec::Sub(Vec::Load(s + j), shift));
      Vec::Store(s + j, p);
      total = Vec::Add(total, p);
    }
    *sum = Vec::Sum(total);
  }

  // kQueries rows times kVectors vectors of the values' columns from w on, summed over n positions in registers.
  template <int kQueries, int kVectors, class Rows>
  static void WeighTile(const float* p, int64_t p_stride, const Rows& v, int64_t w, int64_t n, int64_t width,
                        float* acc) {
    V sums[kQueries][kVectors];
    for (int i = 0; i < kQueries; ++i) {
      for (int c = 0; c < kVectors; ++c) sums[i][c] = Vec::Load(acc + i * width + w + c * kLanes);
    }
    for (int64_t j = 0; j < n; ++j) {
      V value[kVectors];
      for (int c = 0; c < kVectors; ++c) value[c] = v.Load(j, w, c);
      for (int i = 0; i < kQueries; ++i) {
        const V weight = Vec::Set(p[i * p_stride + j]);
        for (int c = 0; c < kVectors; ++c) sums[i][c] = Vec::MulAdd(weight, value[c], sums[i][c]);
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int c = 0; c < kVectors; ++c) Vec::Store(acc + i * width + w + c * kLanes, sums[i][c]);
    }
  }

  template <int kQueries, int kVectors, class Rows>
  static void WeighRows(const float* p, int64_t p_stride, const Rows& v, int64_t n, int64_t width, float* acc) {
    constexpr int kColumns = kVectors * kLanes;
    constexpr int kTogether = kColumns % Rows::kStep == 0 || Rows::kStep % kColumns == 0 ? kVectors : 1;
    int64_t w = 0;
    for (; w + kTogether * kLanes <= width; w += kTogether * kLanes) {
      WeighTile<kQueries, kTogether>(p, p_stride, v, w, n, width, acc);
    }
    for (; w < width; w += kLanes) WeighTile<kQueries, 1>(p, p_stride, v, w, n, width, acc);
  }

  // 4 x 4 sums on AVX-512, 4 x 2 in the 16 registers of AVX2.
  template <class Rows>
  static void WeightedSumOf(const float* p, int64_t p_stride, int64_t m, const Rows& v, int64_t n, int64_t width,
                            float* acc) {
    constexpr int kVectors = kLanes == 16 ? 4 : 2;
    int64_t i = 0;
    for (; i + 4 <= m; i += 4) WeighRows<4, kVectors>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
    for (; i + 2 <= m; i += 2) WeighRows<2, 4>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
    for (; i < m; ++i) WeighRows<1, 8>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
  }

  static void WeightedSum(const float* p, int64_t p_stride, int64_t m, const float* v, int64_t n, int64_t width,
                          float* acc) {
    WeightedSumOf(p, p_stride, m, FloatRows{v, width}, n, width, acc);
  }
  static void WeightedSumQ8(const float* p, int64_t p_stride, int64_t m, const KvRowPointers& v, int64_t n,
                            int64_t width, float* acc) {
    WeightedSumOf(p, p_stride, m, Q8Rows{v.rows, v.scales}, n, width, acc);
  }
  static void WeightedSumQ4(const float* p, int64_t p_stride, int64_t m, const KvRowPointers& v, int64_t n,
                            int64_t width, float* acc) {
    WeightedSumOf(p, p_stride, m, Q4Rows{v.rows, v.scales}, n, width, acc);
  }

  static void Merge(float* acc, float acc_scale, const float* part, float part_scale, int64_t n) {
    const V a = Vec::Set(acc_scale);
    const V b = Vec::Set(part_scale);
    RowKernels<Vec>::Map2(acc, part, n, [a, b](V x, V y) { return Vec::MulAdd(y, b, Vec::Mul(x, a)); });
  }
};

}  // namespace barn
