#pragma once

// What an inner loop is made of: kept out of line, a register would travel through memory. An emulation of the
// instructions defines it to nothing, since its code would grow beyond measure.
#ifndef BARN_INLINED
#define BARN_INLINED __attribute__((always_inline))
#endif

namespace barn {
namespace {

// f.template operator()<0>() .. <kCount - 1>(), in order: indices that are constants to intrinsics.
template <int kCount, int kAt = 0, class F>
BARN_INLINED inline void Unroll(const F& f) {
  if constexpr (kAt < kCount) {
    f.template operator()<kAt>();
    Unroll<kCount, kAt + 1>(f);
  }
}

}  // namespace
}  // namespace barn
