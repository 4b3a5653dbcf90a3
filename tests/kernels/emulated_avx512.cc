// The AVX-512 intrinsics become SIMDe's functions before the kernels' source sees them.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

// Debian's SIMDe lacks these two.
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
#define _mm512_srai_epi32 ShiftIntsRight
#define _mm512_cvtepi32_ps ConvertInts

#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/make_table.h"
#include "tests/kernels/emulated_avx512.h"

namespace barn {

const KernelTable& EmulatedAvx512Kernels() {
  static const KernelTable table = MakeTable<Avx512Isa>();
  return table;
}

}  // namespace barn
