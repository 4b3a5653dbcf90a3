#pragma once

#include "absl/status/statusor.h"

namespace barn {

// The instruction sets that the CPU kernels are compiled for, weakest first.
enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Vbmi };
inline constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vbmi};

// "scalar", "avx2", "avx512", "avx512_vbmi": the words of BARN_CPU_ISA and of Device::Describe.
const char* IsaName(Isa isa);

// Whether cpuid (and the operating system, for the wide registers) offers everything that the kernels of `isa` use:
// AVX2, FMA and F16C; for kAvx512 also AVX-512 F, BW, VL, DQ and VNNI; for kAvx512Vbmi also VBMI, which only products
// with some weights use.
bool IsaSupported(Isa isa);

// The best set of this machine, or the one that BARN_CPU_ISA names.
// InvalidArgument: an unknown word, or a set that this machine lacks.
absl::StatusOr<Isa> ChooseIsa();

}  // namespace barn
