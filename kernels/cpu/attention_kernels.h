#pragma once

#include <cstdint>

#include "kernels/cpu/row_kernels.h"

// The inner loops of attention over one vector trait. The rules of row_kernels.h hold. Every sum has one accumulator
// per output (or lane of it) and runs upwards, so the blocking of queries and positions changes no bit.
namespace barn {

template <class Vec>
struct AttentionKernels {
  using V = typename Vec::V;
  static constexpr int kLanes = Vec::kLanes;

  // kQueries x kPositions dot products in registers.
  template <int kQueries, int kPositions>
  static void ScoreTile(const float* q, const float* k, int64_t width, float* out, int64_t out_stride) {
    V sums[kQueries][kPositions];
    for (int i = 0; i < kQueries; ++i) {
      for (int j = 0; j < kPositions; ++j) sums[i][j] = Vec::Set(0.0f);
    }
    for (int64_t w = 0; w < width; w += kLanes) {
      V query[kQueries];
      for (int i = 0; i < kQueries; ++i) query[i] = Vec::Load(q + i * width + w);
      for (int j = 0; j < kPositions; ++j) {
        const V key = Vec::Load(k + j * width + w);
        for (int i = 0; i < kQueries; ++i) sums[i][j] = Vec::MulAdd(query[i], key, sums[i][j]);
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int j = 0; j < kPositions; j += 4) {
        Vec::StoreSums4(out + i * out_stride + j, sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
      }
    }
  }

  template <int kQueries, int kPositions>
  static void ScoreRows(const float* q, const float* k, int64_t n, int64_t width, float* out, int64_t out_stride) {
    for (int64_t j = 0; j < n; j += kPositions) {
      ScoreTile<kQueries, kPositions>(q, k + j * width, width, out + j, out_stride);
    }
  }

  // 3 x 4 sums, 3 queries and a key fill the 16 AVX2 registers; a single query needs 8 sums to hide the latency.
  static void Scores(const float* q, int64_t m, const float* k, int64_t n, int64_t width, float* out,
                     int64_t out_stride) {
    int64_t i = 0;
    while (i < m) {
      const int64_t left = m - i;
      if (left >= 3 && left != 4) {
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

  // kQueries rows times kVectors vectors of the value, summed over n positions in registers.
  template <int kQueries, int kVectors>
  static void WeighTile(const float* p, int64_t p_stride, const float* v, int64_t n, int64_t width, float* acc) {
    V sums[kQueries][kVectors];
    for (int i = 0; i < kQueries; ++i) {
      for (int c = 0; c < kVectors; ++c) sums[i][c] = Vec::Load(acc + i * width + c * kLanes);
    }
    for (int64_t j = 0; j < n; ++j) {
      V value[kVectors];
      for (int c = 0; c < kVectors; ++c) value[c] = Vec::Load(v + j * width + c * kLanes);
      for (int i = 0; i < kQueries; ++i) {
        const V weight = Vec::Set(p[i * p_stride + j]);
        for (int c = 0; c < kVectors; ++c) sums[i][c] = Vec::MulAdd(weight, value[c], sums[i][c]);
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int c = 0; c < kVectors; ++c) Vec::Store(acc + i * width + c * kLanes, sums[i][c]);
    }
  }

  template <int kQueries, int kVectors>
  static void WeighRows(const float* p, int64_t p_stride, const float* v, int64_t n, int64_t width, float* acc) {
    int64_t w = 0;
    for (; w + kVectors * kLanes <= width; w += kVectors * kLanes) {
      WeighTile<kQueries, kVectors>(p, p_stride, v + w, n, width, acc + w);
    }
    for (; w < width; w += kLanes) WeighTile<kQueries, 1>(p, p_stride, v + w, n, width, acc + w);
  }

  static void WeightedSum(const float* p, int64_t p_stride, int64_t m, const float* v, int64_t n, int64_t width,
                          float* acc) {
    int64_t i = 0;
    for (; i + 4 <= m; i += 4) WeighRows<4, 2>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
    for (; i + 2 <= m; i += 2) WeighRows<2, 4>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
    for (; i < m; ++i) WeighRows<1, 8>(p + i * p_stride, p_stride, v, n, width, acc + i * width);
  }

  static void Merge(float* acc, float acc_scale, const float* part, float part_scale, int64_t n) {
    const V a = Vec::Set(acc_scale);
    const V b = Vec::Set(part_scale);
    RowKernels<Vec>::Map2(acc, part, n, [a, b](V x, V y) { return Vec::MulAdd(y, b, Vec::Mul(x, a)); });
  }
};

}  // namespace barn
