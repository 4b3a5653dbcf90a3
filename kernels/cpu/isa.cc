#include "kernels/cpu/isa.h"

#include <cstdlib>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace barn {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vbmi:
      return "avx512_vbmi";
  }
  return "unknown";
}

bool IsaSupported(Isa isa) {
  if (isa == Isa::kScalar) return true;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvx512Vbmi && !__builtin_cpu_supports("avx512vbmi")) return false;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

absl::StatusOr<Isa> ChooseIsa() {
  const char* forced = std::getenv("BARN_CPU_ISA");
  if (forced == nullptr || *forced == '\0') {
    Isa best = Isa::kScalar;
    for (Isa isa : kIsas) {
      if (IsaSupported(isa)) best = isa;
    }
    return best;
  }
  for (Isa isa : kIsas) {
    if (std::string_view(forced) != IsaName(isa)) continue;
    if (IsaSupported(isa)) return isa;
    return absl::InvalidArgumentError(
        absl::StrCat("BARN_CPU_ISA=", forced, ": this machine lacks that instruction set"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("BARN_CPU_ISA=", forced, " is unknown; the choices are scalar, avx2, avx512 and avx512_vbmi"));
}

}  // namespace barn
