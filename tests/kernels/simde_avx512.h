#pragma once

// Included first: the AVX-512 code that follows in the file is compiled through SIMDe for a machine with AVX2.
#define BARN_INLINED
// The AVX-512 intrinsics become SIMDe's functions before the kernels' source sees them.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

// What Debian's SIMDe lacks.
static inline simde__m512i ShiftIntsRight(simde__m512i ints, int bits) {
  simde__m512i_private result = simde__m512i_to_private(ints);
  for (int i = 0; i < 16; ++i) result.i32[i] >>= bits;
  return simde__m512i_from_private(result);
}
static inline simde__m512 ConvertInts(simde__m512i ints) {
  simde__m512_private result;
  const simde__m512i_private from = simde__m512i_to_private(ints);
  for (int i = 0; i < 16; ++i) result.f32[i] = static_cast<float>(from.i32[i]);
  return simde__m512_from_private(result);
}
static inline simde__m512i WidenBytes(simde__m128i bytes) {
  simde__m512i_private result;
  const simde__m128i_private from = simde__m128i_to_private(bytes);
  for (int i = 0; i < 16; ++i) result.i32[i] = from.u8[i];
  return simde__m512i_from_private(result);
}
static inline simde__m512i WidenSignedBytes(simde__m128i bytes) {
  simde__m512i_private result;
  const simde__m128i_private from = simde__m128i_to_private(bytes);
  for (int i = 0; i < 16; ++i) result.i32[i] = from.i8[i];
  return simde__m512i_from_private(result);
}
static inline simde__m512i WidenBytesToShorts(simde__m256i bytes) {
  simde__m512i_private result;
  const simde__m256i_private from = simde__m256i_to_private(bytes);
  for (int i = 0; i < 32; ++i) result.i16[i] = from.u8[i];
  return simde__m512i_from_private(result);
}
static inline simde__m512i WidenShorts(simde__m256i shorts) {
  simde__m512i_private result;
  const simde__m256i_private from = simde__m256i_to_private(shorts);
  for (int i = 0; i < 16; ++i) result.i32[i] = from.u16[i];
  return simde__m512i_from_private(result);
}
static inline simde__m512 ConvertHalves(simde__m256i halves) {
  return simde_mm512_insertf32x8(simde_mm512_castps256_ps512(_mm256_cvtph_ps(simde_mm256_castsi256_si128(halves))),
                                 _mm256_cvtph_ps(simde_mm256_extracti128_si256(halves, 1)), 1);
}
static inline simde__m256i MaskedSubtract(simde__m256i source, uint32_t mask, simde__m256i a, simde__m256i b) {
  simde__m256i_private result = simde__m256i_to_private(source);
  const simde__m256i_private first = simde__m256i_to_private(a), second = simde__m256i_to_private(b);
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0) result.i8[i] = static_cast<int8_t>(first.i8[i] - second.i8[i]);
  }
  return simde__m256i_from_private(result);
}
static inline simde__m256i ConvertToHalves(simde__m512 floats) {
  const simde__m512_private from = simde__m512_to_private(floats);
  return simde_mm256_set_m128i(_mm256_cvtps_ph(from.m256[1], _MM_FROUND_TO_NEAREST_INT),
                               _mm256_cvtps_ph(from.m256[0], _MM_FROUND_TO_NEAREST_INT));
}
static inline simde__m256 HalfOf(simde__m512 floats, int half) { return simde__m512_to_private(floats).m256[half]; }
static inline simde__m512i RoundToInts(simde__m512 floats) {
  simde__m512i_private result;
  result.m256i[0] = _mm256_cvtps_epi32(HalfOf(floats, 0));
  result.m256i[1] = _mm256_cvtps_epi32(HalfOf(floats, 1));
  return simde__m512i_from_private(result);
}
static inline simde__m128i NarrowToBytes(simde__m512i ints) {
  simde__m128i_private result;
  const simde__m512i_private from = simde__m512i_to_private(ints);
  for (int i = 0; i < 16; ++i) result.i8[i] = static_cast<int8_t>(from.i32[i]);
  return simde__m128i_from_private(result);
}
#define _mm512_extractf32x8_ps HalfOf
#define _mm512_cvtps_epi32 RoundToInts
#define _mm512_cvtepi32_epi8 NarrowToBytes
#define _mm512_cvtps_ph(floats, rounding) ConvertToHalves(floats)
#define _mm256_mask_sub_epi8 MaskedSubtract
#define _mm512_srai_epi32 ShiftIntsRight
#define _mm512_cvtepi32_ps ConvertInts
#define _mm512_cvtepu8_epi32 WidenBytes
#define _mm512_cvtepi8_epi32 WidenSignedBytes
#define _mm512_cvtepu8_epi16 WidenBytesToShorts
#define _mm512_cvtepu16_epi32 WidenShorts
#define _mm512_cvtph_ps ConvertHalves
