#pragma once

#include <cstdint>

// Elementwise loops and norms over one vector trait (VecScalar, ...). For the files that are compiled for one
// instruction set: only this trait's code may be instantiated here, and nothing of the standard library, because a
// shared inline function compiled with wide instructions could be the one that the linker keeps for everybody.
namespace barn {

template <class Vec>
struct RowKernels {
  using V = typename Vec::V;
  static constexpr int kLanes = Vec::kLanes;

  // The lanes that a row's end fills, zeros behind them.
  static V LoadPart(const float* p, int64_t n) {
    float lanes[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return Vec::Load(lanes);
  }
  static void StorePart(float* p, V v, int64_t n) {
    float lanes[kLanes];
    Vec::Store(lanes, v);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }

  // x[i] = f(x[i])
  template <class F>
  static void Map(float* x, int64_t n, F f) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) Vec::Store(x + i, f(Vec::Load(x + i)));
    if (i < n) StorePart(x + i, f(LoadPart(x + i, n - i)), n - i);
  }
  // x[i] = f(x[i], y[i])
  template <class F>
  static void Map2(float* x, const float* y, int64_t n, F f) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) Vec::Store(x + i, f(Vec::Load(x + i), Vec::Load(y + i)));
    if (i < n) StorePart(x + i, f(LoadPart(x + i, n - i), LoadPart(y + i, n - i)), n - i);
  }

  // e^x: x = n ln 2 + r, |r| <= ln 2 / 2; e^r by a minimax polynomial. Relative error below 2e-7; below -87.3, where
  // the result would be subnormal, 0; above 88.37 the value there (2.4e38). NaN stays NaN.
  static V ExpOf(V x) {
    const V bounded = Vec::Min(Vec::Set(88.37f), x);
    const V n = Vec::Round(Vec::Mul(bounded, Vec::Set(0x1.715476p+0f)));
    V r = Vec::MulAdd(n, Vec::Set(-0x1.62e4p-1f), bounded);  // Few bits, so that n times it is exact.
    r = Vec::MulAdd(n, Vec::Set(-0x1.7f7d1cp-20f), r);
    V p = Vec::MulAdd(Vec::Set(0x1.6db4e4p-10f), r, Vec::Set(0x1.123bep-7f));
    p = Vec::MulAdd(p, r, Vec::Set(0x1.55545ep-5f));
    p = Vec::MulAdd(p, r, Vec::Set(0x1.55548ep-3f));
    p = Vec::MulAdd(p, r, Vec::Set(0.5f));
    p = Vec::MulAdd(p, Vec::Mul(r, r), r);
    const V result = Vec::TimesPow2(Vec::Add(p, Vec::Set(1.0f)), n);
    return Vec::SelectLess(x, Vec::Set(-87.3f), Vec::Set(0.0f), result);
  }

  // tanh x: an odd minimax polynomial up to 0.625, 1 - 2 / (e^2x + 1) beyond, where that no longer cancels.
  static V TanhOf(V x) {
    const V z = Vec::Mul(x, x);
    V p = Vec::MulAdd(Vec::Set(-0x1.76abf6p-8f), z, Vec::Set(0x1.5256cep-6f));
    p = Vec::MulAdd(p, z, Vec::Set(-0x1.b84448p-5f));
    p = Vec::MulAdd(p, z, Vec::Set(0x1.110768p-3f));
    p = Vec::MulAdd(p, z, Vec::Set(-0x1.555534p-2f));
    const V near = Vec::MulAdd(Vec::Mul(p, z), x, x);
    const V magnitude = Vec::Abs(x);
    const V e = ExpOf(Vec::Add(magnitude, magnitude));
    const V far = Vec::Sub(Vec::Set(1.0f), Vec::Div(Vec::Set(2.0f), Vec::Add(e, Vec::Set(1.0f))));
    const V far_signed = Vec::SelectLess(x, Vec::Set(0.0f), Vec::Sub(Vec::Set(0.0f), far), far);
    return Vec::SelectLess(magnitude, Vec::Set(0.625f), near, far_signed);
  }

  // x / (1 + e^-y)
  static V TimesSigmoid(V x, V y) { return Vec::Div(x, Vec::Add(Vec::Set(1.0f), ExpOf(Vec::Sub(Vec::Set(0.0f), y)))); }
  // (1 + tanh u) / 2 is the sigmoid of 2u, so u = sqrt(2 / pi) (x + 0.044715 x^3) enters doubled.
  static V GeluOf(V x) {
    const V inner = Vec::MulAdd(Vec::Mul(Vec::Set(0.044715f), Vec::Mul(x, x)), x, x);
    return TimesSigmoid(x, Vec::Mul(inner, Vec::Set(1.5957691216057308f)));
  }
  // x times the normal distribution's Phi(x) = erfc(-x / sqrt 2) / 2. With t = 1 / (1 + 0.3275911 z), erfc z is
  // e^(-z^2) (a1 t + ... + a5 t^5) within 1.5e-7 (Abramowitz and Stegun, 7.1.26).
  static V GeluErfOf(V x) {
    const V z = Vec::Mul(Vec::Abs(x), Vec::Set(0.70710678f));
    const V t = Vec::Div(Vec::Set(1.0f), Vec::MulAdd(z, Vec::Set(0.3275911f), Vec::Set(1.0f)));
    V p = Vec::MulAdd(Vec::Set(1.061405429f), t, Vec::Set(-1.453152027f));
    p = Vec::MulAdd(p, t, Vec::Set(1.421413741f));
    p = Vec::MulAdd(p, t, Vec::Set(-0.284496736f));
    p = Vec::MulAdd(p, t, Vec::Set(0.254829592f));
    const V e = ExpOf(Vec::Sub(Vec::Set(0.0f), Vec::Mul(z, z)));
    const V tail = Vec::Mul(Vec::Mul(Vec::Mul(p, t), e), Vec::Set(0.5f));  // Phi(-|x|)
    return Vec::Mul(x, Vec::SelectLess(x, Vec::Set(0.0f), tail, Vec::Sub(Vec::Set(1.0f), tail)));
  }
  static V CapOf(V x, V cap) { return Vec::Mul(cap, TanhOf(Vec::Div(x, cap))); }

  static void SiluMul(float* gate, const float* up, int64_t n) {
    Map2(gate, up, n, [](V g, V u) { return Vec::Mul(TimesSigmoid(g, g), u); });
  }
  static void GeluMul(float* gate, const float* up, int64_t n) {
    Map2(gate, up, n, [](V g, V u) { return Vec::Mul(GeluOf(g), u); });
  }
  static void GeluErfMul(float* gate, const float* up, int64_t n) {
    Map2(gate, up, n, [](V g, V u) { return Vec::Mul(GeluErfOf(g), u); });
  }
  static void ClampedSwiglu(float* gate, const float* up, int64_t n) {
    Map2(gate, up, n, [](V g, V u) {
      g = Vec::Min(Vec::Set(7.0f), g);
      u = Vec::Max(Vec::Set(-7.0f), Vec::Min(Vec::Set(7.0f), u));
      return Vec::Mul(TimesSigmoid(g, Vec::Mul(g, Vec::Set(1.702f))), Vec::Add(u, Vec::Set(1.0f)));
    });
  }
  static void Gelu(float* x, int64_t n) {
    Map(x, n, [](V v) { return GeluOf(v); });
  }
  static void GeluErf(float* x, int64_t n) {
    Map(x, n, [](V v) { return GeluErfOf(v); });
  }
  static void Softcap(float* x, float cap, int64_t n) {
    const V c = Vec::Set(cap);
    Map(x, n, [c](V v) { return CapOf(v, c); });
  }
  static void Add(float* x, const float* y, int64_t n) {
    Map2(x, y, n, [](V a, V b) { return Vec::Add(a, b); });
  }
  static void AddScaled(float* x, const float* y, float scale, int64_t n) {
    const V s = Vec::Set(scale);
    Map2(x, y, n, [s](V a, V b) { return Vec::MulAdd(s, b, a); });
  }
  static void Scale(float* x, float scale, int64_t n) {
    const V s = Vec::Set(scale);
    Map(x, n, [s](V a) { return Vec::Mul(a, s); });
  }
  static void Exp(float* x, int64_t n) {
    Map(x, n, [](V v) { return ExpOf(v); });
  }

  // Sum of f(x[i]), f(0) == 0 for the lanes behind the end. Four accumulators hide the latency of the addition.
  template <class F>
  static float Reduce(const float* x, int64_t n, F f) {
    V sums[4] = {Vec::Set(0.0f), Vec::Set(0.0f), Vec::Set(0.0f), Vec::Set(0.0f)};
    int64_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
      for (int a = 0; a < 4; ++a) sums[a] = f(Vec::Load(x + i + a * kLanes), sums[a]);
    }
    for (; i + kLanes <= n; i += kLanes) sums[0] = f(Vec::Load(x + i), sums[0]);
    float sum = Vec::Sum(Vec::Add(Vec::Add(sums[0], sums[1]), Vec::Add(sums[2], sums[3])));
    if (i < n) {
      float rest[kLanes] = {};
      Vec::Store(rest, f(LoadPart(x + i, n - i), Vec::Set(0.0f)));
      for (int64_t j = 0; j < n - i; ++j) sum += rest[j];
    }
    return sum;
  }

  static float Largest(const float* x, int64_t n) {
    const float nothing = -__builtin_inff();
    V most = Vec::Set(nothing);
    int64_t i = 0;
    // Max gives its second operand when either is NaN.
    for (; i + kLanes <= n; i += kLanes) most = Vec::Max(Vec::Load(x + i), most);
    float largest = Vec::MaxLane(most);
    for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
    return largest;
  }

  static float ExpSum(const float* x, float shift, int64_t n) {
    const V s = Vec::Set(shift);
    // NaN compares as not less, so that the order of operands makes it the lowest value.
    const V lowest = Vec::Set(-__builtin_inff());
    const auto term = [&](V v) {
      const V d = Vec::Sub(v, s);
      return ExpOf(Vec::SelectLess(d, Vec::Set(1.0f), d, lowest));
    };
    V sum = Vec::Set(0.0f);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum = Vec::Add(sum, term(Vec::Load(x + i)));
    float total = Vec::Sum(sum);
    if (i < n) {
      float rest[kLanes] = {};
      Vec::Store(rest, term(LoadPart(x + i, n - i)));
      for (int64_t j = 0; j < n - i; ++j) total += rest[j];
    }
    return total;
  }

  // out = (x - mean) * scale * weight + bias
  static void Normalize(const float* x, float mean, float scale, const float* weight, const float* bias, float* out,
                        int64_t n) {
    const V m = Vec::Set(mean);
    const V s = Vec::Set(scale);
    const auto value = [&](V v, V w, V b) { return Vec::MulAdd(Vec::Mul(Vec::Sub(v, m), s), w, b); };
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const V w = weight != nullptr ? Vec::Load(weight + i) : Vec::Set(1.0f);
      const V b = bias != nullptr ? Vec::Load(bias + i) : Vec::Set(0.0f);
      Vec::Store(out + i, value(Vec::Load(x + i), w, b));
    }
    if (i == n) return;
    const V w = weight != nullptr ? LoadPart(weight + i, n - i) : Vec::Set(1.0f);
    const V b = bias != nullptr ? LoadPart(bias + i, n - i) : Vec::Set(0.0f);
    StorePart(out + i, value(LoadPart(x + i, n - i), w, b), n - i);
  }

  static void RmsNorm(const float* x, const float* weight, float eps, float* out, int64_t n) {
    const float squares = Reduce(x, n, [](V v, V sum) { return Vec::MulAdd(v, v, sum); });
    const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
    Normalize(x, 0.0f, scale, weight, nullptr, out, n);
  }
  static void LayerNorm(const float* x, const float* weight, const float* bias, float eps, float* out, int64_t n) {
    const float mean = Reduce(x, n, [](V v, V sum) { return Vec::Add(sum, v); }) / static_cast<float>(n);
    const V m = Vec::Set(mean);
    const float squares = Reduce(x, n, [m](V v, V sum) {
      const V difference = Vec::Sub(v, m);
      return Vec::MulAdd(difference, difference, sum);
    });
    const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
    Normalize(x, mean, scale, weight, bias, out, n);
  }

  static void HalfToFloats(const uint16_t* x, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) Vec::Store(out + i, Vec::LoadHalf(x + i));
    if (i == n) return;
    uint16_t lanes[kLanes] = {};
    for (int64_t j = i; j < n; ++j) lanes[j - i] = x[j];
    StorePart(out + i, Vec::LoadHalf(lanes), n - i);
  }
  static void FloatsToHalf(const float* x, uint16_t* out, int64_t n) {
    const auto bounded = [](V v) { return Vec::Max(Vec::Set(-65504.0f), Vec::Min(Vec::Set(65504.0f), v)); };
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) Vec::StoreHalf(out + i, bounded(Vec::Load(x + i)));
    if (i == n) return;
    uint16_t lanes[kLanes];
    Vec::StoreHalf(lanes, bounded(LoadPart(x + i, n - i)));
    for (int64_t j = i; j < n; ++j) out[j] = lanes[j - i];
  }
};

}  // namespace barn
