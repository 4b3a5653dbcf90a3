#pragma once

#include <immintrin.h>

#include <cstdint>

namespace barn {

// Sixteen lanes; needs AVX-512 F and DQ. Operations are those of VecScalar.
struct VecAvx512 {
  static constexpr int kLanes = 16;
  using V = __m512;

  static V Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static V Set(float value) { return _mm512_set1_ps(value); }
  static V Add(V a, V b) { return _mm512_add_ps(a, b); }
  static V Sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V Mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V Div(V a, V b) { return _mm512_div_ps(a, b); }
  static V MulAdd(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V Min(V a, V b) { return _mm512_min_ps(a, b); }
  static V Max(V a, V b) { return _mm512_max_ps(a, b); }
  static V Abs(V a) { return _mm512_abs_ps(a); }
  static V Round(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V TimesPow2(V a, V n) { return _mm512_scalef_ps(a, n); }
  static V SelectLess(V a, V b, V then, V otherwise) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), otherwise, then);
  }
  static __m256 Low(V v) { return _mm512_castps512_ps256(v); }
  static __m256 High(V v) { return _mm512_extractf32x8_ps(v, 1); }
  static float Sum(V v) {
    const __m256 half = _mm256_add_ps(Low(v), High(v));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float MaxLane(V v) {
    const __m256 half = _mm256_max_ps(Low(v), High(v));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static void StoreSums4(float* out, V a, V b, V c, V d) {
    const __m256 ab = _mm256_hadd_ps(_mm256_add_ps(Low(a), High(a)), _mm256_add_ps(Low(b), High(b)));
    const __m256 cd = _mm256_hadd_ps(_mm256_add_ps(Low(c), High(c)), _mm256_add_ps(Low(d), High(d)));
    const __m256 pairs = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
  }
  static V LoadHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void StoreHalf(uint16_t* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static V SetHalf(uint16_t half) { return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(half))); }
  static V LoadBytes(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void StoreBytes(int8_t* p, V v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
  // The sixteen values that a code may mean, found by the low four bits of each lane.
  static V LoadNibbles(const uint8_t* block, int64_t at, V scale) {
    const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 values = _mm512_fmadd_ps(scale, codes, _mm512_mul_ps(scale, _mm512_set1_ps(-8.0f)));
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
    return _mm512_permutexvar_ps(at < 16 ? bytes : _mm512_srli_epi32(bytes, 4), values);
  }
};

}  // namespace barn
