#pragma once

#include "kernels/cpu/int8_formats.h"
#include "kernels/cpu/kernel_table.h"

// The products of weights with int8 activations: one driver over format and instruction set.
//
// The result of a weight row r and a token t is defined as follows, whatever the instruction set, the number of tokens
// and the path, so that it has the same bits everywhere. For block after block of 32 columns:
//   dot = integer sum of codes times activation codes (with the integer scales of 16 and the offset, where a format
//         has them), exact in 32 bits
//   sum = fma(float(dot), d * scale, sum), then the min term in the same way; Kind::kHalves: for 16 columns each
// and at the end sum + bias. Formats of Kind::kChunk do so for chunk after chunk of 256 columns. One chain per row and
// token keeps the sums of many rows and tokens in registers.

namespace barn {
namespace {

// A chunk of one weight row, ready to meet any number of tokens.
template <class Isa, class Format>
struct Chunk {
  typename Isa::Bytes codes[8];
  typename Isa::Floats scale;     // Lane b is for block b.
  typename Isa::Floats min;       // Times the activation's sum (kAffine) or scale (kChunk); of kHalves the other scale.
  typename Isa::Shorts scales16;  // kScaled16 and kChunk only.
  typename Isa::Shorts mins16;    // The same: what the sums of 16 are multiplied by.

  // blocks: 8, or fewer in the last chunk of a row.
  [[gnu::always_inline]] void Load(const uint8_t* chunk, int blocks) {
    LoadScales(chunk, blocks);
    if constexpr (Format::kIsGrid) {
      Format::template AllCodes<Isa>(chunk, codes);
    } else {
      for (int b = 0; b < 8; ++b) codes[b] = b < blocks ? Format::template Codes<Isa>(chunk, b) : Isa::ZeroBytes();
    }
  }

  void LoadScales(const uint8_t* chunk, int blocks) {
    if constexpr (Format::kKind == Kind::kScaled16 || Format::kKind == Kind::kChunk) {
      const uint16_t d = Format::ScaleBits(chunk);
      scale = Isa::Set(Isa::Half(reinterpret_cast<const uint8_t*>(&d)) * Format::kScaleFactor);
      scales16 = Format::template Scales16<Isa>(chunk);
      if constexpr (Format::kHasMin) {
        min = Isa::Set(-Isa::Half(chunk + Format::kMinOffset));
        mins16 = Format::template Mins16<Isa>(chunk);
      } else {
        mins16 = Isa::MultiplyShorts(scales16, Format::kOffset);
      }
    } else {
      Format::template Scales<Isa>(chunk, blocks, scale, min);
    }
  }
};

// Adds `count` blocks to sum in order: a[b] * b[b], and with kHasMin also c[b] * d[b].
template <class Isa, bool kHasMin>
inline float AddInOrder(typename Isa::Floats a, typename Isa::Floats b, typename Isa::Floats c, typename Isa::Floats d,
                        int count, float sum) {
  float terms[4][8];
  Isa::StoreFloats(terms[0], a);
  Isa::StoreFloats(terms[1], b);
  if constexpr (kHasMin) {
    Isa::StoreFloats(terms[2], c);
    Isa::StoreFloats(terms[3], d);
  }
  for (int i = 0; i < count; ++i) {
    sum = Isa::MulAddOne(terms[0][i], terms[1][i], sum);
    if constexpr (kHasMin) sum = Isa::MulAddOne(terms[2][i], terms[3][i], sum);
  }
  return sum;
}

// Adds the products of one chunk of `count` blocks with one token. token_block: where the token's chunk begins in x.
template <class Isa, class Format>
inline float AddChunk(const Chunk<Isa, Format>& w, const QuantizedView& x, size_t token_block, int count, float sum) {
  const int8_t* codes = x.codes + 32 * token_block;
  const int16_t* sums16 = x.sums16 + 2 * token_block;
  const auto scale = Isa::LoadFloats(x.scales + token_block);
  const auto product = Isa::Mul(w.scale, scale);
  if constexpr (Format::kKind == Kind::kAffine) {
    const auto dots = Isa::ToFloats(Isa::template Dots<Format::kMaxCode>(w.codes, codes));
    return AddInOrder<Isa, Format::kHasMin>(dots, product, w.min, Isa::LoadFloats(x.sums + token_block), count, sum);
  } else if constexpr (Format::kKind == Kind::kSigned) {
    const auto dots = Isa::ToFloats(Isa::SignedDots(w.codes, codes, sums16));
    return AddInOrder<Isa, false>(dots, product, dots, dots, count, sum);
  } else if constexpr (Format::kKind == Kind::kScaled16) {
    const auto dots = Isa::Subtract(Isa::template ScaledDots<Format::kMaxCode>(w.codes, codes, w.scales16),
                                    Isa::PairSums(w.mins16, sums16));
    return AddInOrder<Isa, false>(Isa::ToFloats(dots), product, product, product, count, sum);
  } else if constexpr (Format::kKind == Kind::kHalves) {
    typename Isa::Ints first, second;
    Isa::HalfDots(w.codes, codes, first, second);
    constexpr uint64_t kOffsets = 0x0001000100010001 * Format::kOffset;  // For the sums of either half of a block.
    first = Isa::Subtract(first, Isa::PairSums(Isa::ShortsFrom(kOffsets, kOffsets), sums16));
    second = Isa::Subtract(second, Isa::PairSums(Isa::ShortsFrom(kOffsets << 8, kOffsets << 8), sums16));
    return AddInOrder<Isa, true>(Isa::ToFloats(first), product, Isa::ToFloats(second), Isa::Mul(w.min, scale), count,
                                 sum);
  } else {
    int32_t dot = Isa::template ScaledDot<Format::kMaxCode>(w.codes, codes, w.scales16);
    const int32_t pair_sum = Isa::AddUp(Isa::PairSums(w.mins16, sums16));
    if constexpr (!Format::kHasMin) dot -= pair_sum;
    sum = Isa::MulAddOne(static_cast<float>(dot), Isa::First(product), sum);
    if constexpr (!Format::kHasMin) return sum;
    return Isa::MulAddOne(static_cast<float>(pair_sum), Isa::First(Isa::Mul(w.min, scale)), sum);
  }
}

inline size_t TokenRow(const int32_t* index, size_t token) {
  return index == nullptr ? token : static_cast<size_t>(index[token]);
}

// Rows [row, a.rows) against kTokens tokens: each chunk of weights is unpacked once for all of them.
template <class Isa, class Format, int kTokens>
void RowsTimesTokens(const Int8Args& a, size_t row, size_t token) {
  const size_t full_chunks = a.blocks / 8;
  const int rest = static_cast<int>(a.blocks % 8);
  size_t first_block[kTokens];
  for (int t = 0; t < kTokens; ++t) first_block[t] = TokenRow(a.index, token + t) * a.x.padded_blocks;
  for (; row < a.rows; ++row) {
    const uint8_t* weights = a.weights + row * a.row_bytes;
    float sums[kTokens] = {};
    Chunk<Isa, Format> chunk;
    for (size_t c = 0; c < full_chunks; ++c) {
      chunk.Load(weights + c * Format::kChunkBytes, 8);
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = AddChunk<Isa, Format>(chunk, a.x, first_block[t] + 8 * c, 8, sums[t]);
      }
    }
    if constexpr (!Format::kWholeChunks) {
      if (rest != 0) {
        const uint8_t* last = weights + full_chunks * Format::kChunkBytes;
        if (rest == 4) {  // Half a chunk is common (640 columns, 2880 columns) and quicker when known to the compiler.
          chunk.Load(last, 4);
        } else {
          chunk.Load(last, rest);
        }
        for (int t = 0; t < kTokens; ++t) {
          sums[t] = AddChunk<Isa, Format>(chunk, a.x, first_block[t] + 8 * full_chunks, rest, sums[t]);
        }
      }
    }
    const float bias = a.bias == nullptr ? 0.0f : a.bias[row];
    for (int t = 0; t < kTokens; ++t) a.out[(token + t) * a.out_stride + row] = sums[t] + bias;
  }
}

template <class Isa, class Format>
void RowsProduct(const Int8Args& a, size_t first_row) {
  size_t token = 0;
  if constexpr (Isa::kPanelRows > 0) {
    for (; token + 4 <= a.tokens; token += 4) RowsTimesTokens<Isa, Format, 4>(a, first_row, token);
    for (; token + 2 <= a.tokens; token += 2) RowsTimesTokens<Isa, Format, 2>(a, first_row, token);
  }
  for (; token < a.tokens; ++token) RowsTimesTokens<Isa, Format, 1>(a, first_row, token);
}

}  // namespace
}  // namespace barn
