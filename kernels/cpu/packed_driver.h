#pragma once

#include "kernels/cpu/int8_driver.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/packed_layout.h"

// Products of packed panels (packed_layout.h) with int8 activations. Everything happens in registers: planes become
// codes, codes meet up to kTileTokens tokens. The order of float operations is that of int8_driver.h.

namespace barn {
namespace {

// Codes of one block, by register: Code<j>() has columns 4 j .. 4 j + 3 of every row.
template <class Isa, class Format>
struct PackedBlock {
  using Codes = typename Isa::PanelInts;
  static constexpr int kBits = Format::kBits;
  static constexpr int kLowBits = Planes<kBits>::kLowBits;
  static constexpr int kHighBits = Planes<kBits>::kHighBits;
  static constexpr size_t kRegister = 4 * Isa::kPanelRows;
  static constexpr bool kSplitsSigns = false;

  const uint8_t* planes;

  template <int kJ>
  BARN_INLINED Codes Code() const {
    Codes codes = Plane<kLowBits, kJ, 0>(planes);
    if constexpr (kHighBits > 0) {
      codes = Isa::PanelOr(codes, Plane<kHighBits, kJ, kLowBits>(planes + kLowBits * kRegister));
    }
    if constexpr (Format::kHasTable) {
      codes = Isa::template PanelLookup<Format::kKind == Kind::kSigned>(codes, Format::kTable);
    }
    return codes;
  }

 private:
  // kWidth bits of code kJ at bits kTo and up of every byte.
  template <int kWidth, int kJ, int kTo>
  BARN_INLINED static Codes Plane(const uint8_t* plane) {
    const Codes stored = Isa::PanelLoadCodes(plane + kJ % kWidth * kRegister);
    if constexpr (kWidth == 8) {
      return stored;
    } else {
      return Isa::template PanelBits<kJ / kWidth * kWidth, kTo, (1 << kWidth) - 1>(stored);
    }
  }
};

// Integer scales of the halves of a block, a signed byte for each row.
template <class Isa>
struct ByteSixteens {
  const uint8_t* bytes;
  template <int kHalf>
  BARN_INLINED typename Isa::PanelInts Half() const {
    return Isa::PanelSignedBytes(bytes + kHalf * Isa::kPanelRows);
  }
};

// A chunk of a panel: the scales of every row, and where the codes are.
template <class Isa, class Format>
class PackedChunk {
 public:
  using Layout = ChunkLayout<Isa, Format>;
  using Floats = typename Isa::PanelFloats;

  BARN_INLINED PackedChunk(const uint8_t* chunk, const Layout& layout) : chunk_(chunk), layout_(layout) {
    if constexpr (IsPerChunk(Layout::kStore)) {
      d_ = Isa::PanelHalves(chunk);
      if constexpr (Format::kScaleFactor != 1) d_ = Isa::PanelMul(d_, Isa::PanelSet(Format::kScaleFactor));
      if constexpr (Layout::kHasDmin) dmin_ = Isa::PanelNegate(Isa::PanelHalves(chunk + layout.dmin));
    }
  }
  // For kScaled16 and kChunk the chunk's, of which the integers come on top.
  BARN_INLINED Floats Scale(size_t b) const {
    if constexpr (Layout::kStore == ScaleStore::kExponent) {
      return Isa::PanelHalvedPowers(chunk_ + layout_.s + kRows * b);
    } else if constexpr (!IsPerChunk(Layout::kStore)) {
      return Isa::PanelHalves(chunk_ + kHalves * b);
    } else if constexpr (Layout::kStore == ScaleStore::kBytePair) {
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::PanelBytes(chunk_ + layout_.s + kRows * b)));
    } else if constexpr (Layout::kStore == ScaleStore::kSignedByte) {
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::PanelSignedBytes(chunk_ + layout_.s + kRows * b)));
    } else {
      return d_;
    }
  }
  BARN_INLINED Floats Min(size_t b, Floats scale) const {
    if constexpr (Layout::kStore == ScaleStore::kHalfPair) {
      return Isa::PanelHalves(chunk_ + layout_.dmin + kHalves * b);
    } else if constexpr (Layout::kStore == ScaleStore::kBytePair) {
      return Isa::PanelMul(dmin_, Isa::PanelToFloats(Isa::PanelBytes(chunk_ + layout_.m + kRows * b)));
    } else {
      return Isa::PanelMul(scale, Isa::PanelSet(Format::kMinFactor));
    }
  }
  ByteSixteens<Isa> Sixteens(size_t b) const { return {chunk_ + layout_.s + 2 * kRows * b}; }
  BARN_INLINED Floats ChunkScale() const { return d_; }
  BARN_INLINED Floats ChunkMin() const { return dmin_; }
  BARN_INLINED typename Isa::PanelInts ScalePairs(size_t b) const {
    if constexpr (Layout::kStore == ScaleStore::kNibblePairs)
      return Isa::PanelLowNibbles(Isa::PanelPairs(Sixteens(b).bytes));
    return Isa::PanelPairs(Sixteens(b).bytes);
  }
  BARN_INLINED typename Isa::PanelInts MinPairs(size_t b) const {
    if constexpr (Layout::kStore == ScaleStore::kNibblePairs) {
      return Isa::PanelHighNibbles(Isa::PanelPairs(Sixteens(b).bytes));
    }
    return Isa::PanelPairs(chunk_ + layout_.m + 2 * kRows * b);
  }
  PackedBlock<Isa, Format> Codes(size_t b) const { return {chunk_ + layout_.codes + Layout::kCodeBytes * b}; }

 private:
  static constexpr size_t kRows = Isa::kPanelRows;
  static constexpr size_t kHalves = sizeof(uint16_t) * kRows;

  const uint8_t* chunk_;
  Layout layout_;
  Floats d_, dmin_;
};

// A format of Kind::kChunk whose codes are S * (u - kOffset) + kFoldedOffset, a byte each: many tokens meet codes that
// need no further work.
template <class Format>
struct Folded : Format {
  static constexpr int kBits = 8;
  static constexpr ScaleStore kScaleStore = Format::kHasMin ? ScaleStore::kFoldedMin : ScaleStore::kFolded;
};
template <class Format>
constexpr bool IsFolded = Format::kScaleStore == ScaleStore::kFolded || Format::kScaleStore == ScaleStore::kFoldedMin;

template <class Isa, class Format>
void FoldPanel(const uint8_t* panel, size_t blocks, uint8_t* out) {
  constexpr ChunkLayout<Isa, Format> kFrom(8);
  constexpr ChunkLayout<Isa, Folded<Format>> kTo(8);
  for (size_t block = 0; block < blocks; block += 8, panel += kFrom.bytes, out += kTo.bytes) {
    memcpy(out, panel, kTo.m);  // d and dmin lie in front.
    const PackedChunk<Isa, Format> chunk(panel, kFrom);
    for (size_t b = 0; b < 8; ++b) {
      if constexpr (Format::kHasMin) Isa::PanelStorePairs(out + kTo.m + 2 * Isa::kPanelRows * b, chunk.MinPairs(b));
      uint8_t* codes = out + kTo.codes + kTo.kCodeBytes * b;
      Unroll<2>([&]<int kHalf>() BARN_INLINED {
        const typename Isa::template ScaleTable<Format, kHalf> table(chunk.ScalePairs(b));
        Unroll<4>([&]<int kI>() BARN_INLINED {
          constexpr int kJ = 4 * kHalf + kI;
          Isa::PanelStoreCodes(codes + 4 * Isa::kPanelRows * kJ, table(chunk.Codes(b).template Code<kJ>()));
        });
      });
    }
  }
}

// A format whose codes lie in bytes as they are multiplied: many tokens meet codes that are cut out of their planes
// once.
template <class Format>
struct Unpacked : Format {
  static constexpr int kBits = 8;
  static constexpr bool kHasTable = false;
};
template <class Format>
constexpr bool kIsUnpacked = false;
template <class Format>
constexpr bool kIsUnpacked<Unpacked<Format>> = true;

template <class Isa, class Format>
void UnpackPanel(const uint8_t* panel, size_t blocks, uint8_t* out) {
  for (size_t block = 0; block < blocks; block += 8) {
    const size_t count = blocks - block < 8 ? blocks - block : 8;
    const ChunkLayout<Isa, Format> from(count);
    const ChunkLayout<Isa, Unpacked<Format>> to(count);
    memcpy(out, panel, from.codes);
    for (size_t b = 0; b < count; ++b) {
      const PackedBlock<Isa, Format> codes = {panel + from.codes + from.kCodeBytes * b};
      uint8_t* bytes = out + to.codes + to.kCodeBytes * b;
      Unroll<8>([&]<int kJ>() BARN_INLINED {
        Isa::PanelStoreCodes(bytes + 4 * Isa::kPanelRows * kJ, codes.template Code<kJ>());
      });
    }
    panel += from.bytes;
    out += to.bytes;
  }
}

// kTokens tokens side by side: see QuantizedTiles.
struct TokenTile {
  const int8_t* codes;    // [blocks, 8, tokens, 4]
  const float* scales;    // [blocks, tokens]
  const float* sums;      // [blocks, tokens]
  const int16_t* sums16;  // [blocks, tokens, 2]
};

// Adds the products of block b of a chunk of each panel; block: where it is in x.
template <class Isa, class Format, int kPanels, int kTokens>
BARN_INLINED inline void AddBlock(const PackedChunk<Isa, Format> (&chunks)[kPanels], size_t b, size_t block,
                                  const TokenTile& x, typename Isa::PanelFloats (&sums)[kPanels][kTokens]) {
  using Floats = typename Isa::PanelFloats;
  using Block = PackedBlock<Isa, Format>;
  Block codes[kPanels];
  for (int p = 0; p < kPanels; ++p) codes[p] = chunks[p].Codes(b);
  const int8_t* x_codes = x.codes + 32 * kTokens * block;
  const float* x_scales = x.scales + kTokens * block;
  const float* x_sums = x.sums + kTokens * block;
  const int16_t* sums16 = x.sums16 + 2 * kTokens * block;
  typename Isa::PanelInts dots[kPanels][kTokens];
  if constexpr (Format::kKind == Kind::kHalves) {
    Unroll<2>([&]<int kHalf>() BARN_INLINED {
      Isa::template PanelHalfDots<kHalf, Format::kMaxCode, Format::kOffset>(codes, x_codes, sums16, dots);
      for (int p = 0; p < kPanels; ++p) {
        const Floats scale = kHalf == 0 ? chunks[p].Scale(b) : chunks[p].Min(b, Floats{});
        for (int t = 0; t < kTokens; ++t) {
          const Floats product = Isa::PanelMul(scale, Isa::PanelSet(x_scales[t]));
          sums[p][t] = Isa::PanelMulAdd(Isa::PanelToFloats(dots[p][t]), product, sums[p][t]);
        }
      }
    });
    return;
  } else if constexpr (Format::kKind == Kind::kAffine) {
    Isa::template PanelDots<Format::kMaxCode>(codes, x_codes, dots);
  } else if constexpr (Format::kKind == Kind::kSigned && Format::kIsGrid) {
    constexpr int kOffset = Block::kSplitsSigns ? 0 : Format::kMagnitude;
    Isa::template PanelOffsetDots<kOffset + Format::kMagnitude, kOffset>(codes, x_codes, sums16, dots);
  } else if constexpr (Format::kKind == Kind::kSigned) {
    Isa::PanelSignedDots(codes, x_codes, sums16, dots);
  } else {
    decltype(chunks[0].Sixteens(b)) sixteens[kPanels];
    for (int p = 0; p < kPanels; ++p) sixteens[p] = chunks[p].Sixteens(b);
    constexpr int kOffset = Block::kSplitsSigns ? 0 : Format::kOffset;  // Magnitudes have none.
    Isa::template PanelScaledDots<Format::kMaxCode - Format::kOffset + kOffset, kOffset>(codes, sixteens, x_codes,
                                                                                         sums16, dots);
  }
  for (int p = 0; p < kPanels; ++p) {
    const Floats scale = chunks[p].Scale(b);
    Floats min;
    if constexpr (Format::kHasMin) min = chunks[p].Min(b, scale);
    for (int t = 0; t < kTokens; ++t) {
      Floats& sum = sums[p][t];
      const Floats x_scale = Isa::PanelSet(x_scales[t]);
      sum = Isa::PanelMulAdd(Isa::PanelToFloats(dots[p][t]), Isa::PanelMul(scale, x_scale), sum);
      if constexpr (Format::kHasMin) sum = Isa::PanelMulAdd(min, Isa::PanelSet(x_sums[t]), sum);
    }
  }
}

// Kind::kChunk: the integers of a chunk, and what they are worth. block: where it begins in x.
template <class Isa, class Format, int kPanels, int kTokens>
BARN_INLINED inline void AddScaledChunk(const PackedChunk<Isa, Format> (&chunks)[kPanels], size_t block,
                                        const TokenTile& x, typename Isa::PanelFloats (&sums)[kPanels][kTokens]) {
  using Ints = typename Isa::PanelInts;
  const int8_t* x_codes = x.codes + 32 * kTokens * block;
  const int16_t* sums16 = x.sums16 + 2 * kTokens * block;
  const auto add = [&](const Ints(&dots)[kPanels][kTokens], bool min) BARN_INLINED {
    for (int p = 0; p < kPanels; ++p) {
      const auto scale = min ? chunks[p].ChunkMin() : chunks[p].ChunkScale();
      for (int t = 0; t < kTokens; ++t) {
        const auto product = Isa::PanelMul(scale, Isa::PanelSet(x.scales[kTokens * block + t]));
        sums[p][t] = Isa::PanelMulAdd(Isa::PanelToFloats(dots[p][t]), product, sums[p][t]);
      }
    }
  };
  Ints mins[kPanels][kTokens];  // First, since they lie in front of the codes.
  if constexpr (Format::kHasMin) {
    Isa::template PanelStart<0>(sums16, mins);
    for (size_t b = 0; b < 8; ++b) {
      for (int p = 0; p < kPanels; ++p) {
        const Ints pairs = chunks[p].MinPairs(b);
        for (int t = 0; t < kTokens; ++t) {
          mins[p][t] = Isa::PanelAddPairs(mins[p][t], pairs, sums16 + 2 * (kTokens * b + t));
        }
      }
    }
  }
  Ints dots[kPanels][kTokens];
  if constexpr (IsFolded<Format>) {
    Isa::template PanelStart<-Format::kFoldedOffset>(sums16, dots);
    for (size_t b = 0; b < 8; ++b) {
      PackedBlock<Isa, Format> codes[kPanels];
      for (int p = 0; p < kPanels; ++p) codes[p] = chunks[p].Codes(b);
      Isa::PanelAddDots(codes, x_codes + 32 * kTokens * b, dots);
    }
  } else {
    Isa::template PanelStart<0>(sums16, dots);
    for (size_t b = 0; b < 8; ++b) {
      PackedBlock<Isa, Format> codes[kPanels];
      Ints scales[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        codes[p] = chunks[p].Codes(b);
        scales[p] = chunks[p].ScalePairs(b);
      }
      Isa::template PanelAddScaledDots<Format::kMaxCode, Format::kOffset>(codes, scales, x_codes + 32 * kTokens * b,
                                                                          sums16 + 2 * kTokens * b, dots);
    }
  }
  add(dots, false);
  if constexpr (Format::kHasMin) add(mins, true);
}

template <class Isa, class Format, int kPanels, int kTokens, size_t... kP>
BARN_INLINED inline void AddChunk(const uint8_t* panel, size_t panel_bytes, size_t count, size_t block,
                                  const TokenTile& x, typename Isa::PanelFloats (&sums)[kPanels][kTokens]) {
  const ChunkLayout<Isa, Format> layout(count);
  const PackedChunk<Isa, Format> chunks[kPanels] = {{panel + kP * panel_bytes, layout}...};
  if constexpr (Format::kKind == Kind::kChunk) {
    AddScaledChunk(chunks, block, x, sums);
  } else if constexpr (kTokens > 1 || kIsUnpacked<Format>) {  // A block is enough for a loop.
    for (size_t b = 0; b < count; ++b) AddBlock(chunks, b, block + b, x, sums);
  } else {
    Unroll<8>([&]<int kB>() BARN_INLINED {
      if (kB >= count) return;
      AddBlock(chunks, kB, block + kB, x, sums);
    });
  }
}

// kPanels panels, one behind the other, against kTokens tokens. out: where the first row of the first token goes.
template <class Isa, class Format, int kPanels, int kTokens>
[[gnu::noinline]] void PanelsTimesTokens(const uint8_t* panel, size_t blocks, const TokenTile& x, const float* bias,
                                         float* out, size_t out_stride) {
  using Floats = typename Isa::PanelFloats;
  const size_t panel_bytes = PanelBytes<Isa, Format>(blocks);
  Floats sums[kPanels][kTokens];
  for (auto& panel_sums : sums) {
    for (Floats& sum : panel_sums) sum = Isa::PanelSet(0.0f);
  }
  const auto add = [&](size_t count, size_t block) BARN_INLINED {
    if constexpr (kPanels == 2) {
      AddChunk<Isa, Format, 2, kTokens, 0, 1>(panel, panel_bytes, count, block, x, sums);
    } else {
      AddChunk<Isa, Format, 1, kTokens, 0>(panel, panel_bytes, count, block, x, sums);
    }
  };
  size_t block = 0;
  for (; block + 8 <= blocks; block += 8, panel += ChunkLayout<Isa, Format>(8).bytes) add(8, block);
  if constexpr (!Format::kWholeChunks) {
    if (block < blocks) add(blocks - block, block);
  }
  for (int p = 0; p < kPanels; ++p) {
    const Floats bias_lanes = bias == nullptr ? Isa::PanelSet(0.0f) : Isa::PanelLoad(bias + p * Isa::kPanelRows);
    for (int t = 0; t < kTokens; ++t) {
      Isa::PanelStore(out + t * out_stride + p * Isa::kPanelRows, Isa::PanelAdd(sums[p][t], bias_lanes));
    }
  }
}

// The tile that begins at `token`.
inline TokenTile TileAt(const PackedArgs& a, size_t token) {
  if (a.tokens == 1) {  // A row is a tile of one token.
    const size_t block = TokenRow(a.index, 0) * a.x.padded_blocks;
    return {a.x.codes + 32 * block, a.x.scales + block, a.x.sums + block, a.x.sums16 + 2 * block};
  }
  const size_t block = token * a.x.padded_blocks;
  const QuantizedTiles& tiles = a.x.tiles;
  return {tiles.codes + 32 * block, tiles.scales + block, tiles.sums + block, tiles.sums16 + 2 * block};
}

// kTile: the tokens of the largest tile.
template <class Isa, class Format, int kPanels, int kTile = kTileTokens>
void PanelsTimesAll(const uint8_t* panel, const PackedArgs& a, size_t row) {
  const float* bias = a.bias == nullptr ? nullptr : a.bias + row;
  const size_t panel_bytes = PanelBytes<Isa, Format>(a.blocks);
  size_t token = 0;
  const auto tiles_of = [&]<int kTokens>() {
    for (; token + kTokens <= a.tokens; token += kTokens) {
      const TokenTile tile = TileAt(a, token);
      float* out = a.out + token * a.out_stride + row;
      if constexpr (kPanels > 1 && kTokens < 4) {  // Few tokens gain nothing from panels together.
        for (int p = 0; p < kPanels; ++p) {
          PanelsTimesTokens<Isa, Format, 1, kTokens>(panel + p * panel_bytes, a.blocks, tile,
                                                     bias == nullptr ? nullptr : bias + p * Isa::kPanelRows,
                                                     out + p * Isa::kPanelRows, a.out_stride);
        }
      } else {
        PanelsTimesTokens<Isa, Format, kPanels, kTokens>(panel, a.blocks, tile, bias, out, a.out_stride);
      }
    }
  };
  static_assert(kTileTokens == 4);
  if constexpr (kTile == 4) tiles_of.template operator()<4>();
  tiles_of.template operator()<2>();
  tiles_of.template operator()<1>();
}

// Products of panels in another form, Copied, which `copy` makes of kTogether of them at a time.
template <class Isa, class Stored, class Copied, int kTogether>
void ProductOfCopies(const PackedArgs& a, void (*copy)(const uint8_t* panel, size_t blocks, uint8_t* out)) {
  const size_t panel_bytes = PanelBytes<Isa, Stored>(a.blocks);
  const size_t copied_bytes = PanelBytes<Isa, Copied>(a.blocks);
  const uint8_t* panel = a.panels;
  for (size_t row = 0; row < a.rows;) {
    const size_t panels = a.rows - row >= kTogether * Isa::kPanelRows ? kTogether : 1;
    for (size_t p = 0; p < panels; ++p, panel += panel_bytes) copy(panel, a.blocks, a.scratch + p * copied_bytes);
    if (panels == kTogether) {
      PanelsTimesAll<Isa, Copied, kTogether>(a.scratch, a, row);
    } else {
      PanelsTimesAll<Isa, Copied, 1>(a.scratch, a, row);
    }
    row += panels * Isa::kPanelRows;
  }
}

// So many tokens pay for folding the integer scales of a panel into its codes, or for unpacking the codes.
constexpr size_t kFoldTokensMin = 16;
constexpr size_t kUnpackTokensMin = 16;

// Panels lie one behind the other: two together are two streams from memory, which are slower than one. Many tokens
// find panels in the cache, and there two share each broadcast of activations.
constexpr size_t kTogetherTokensMin = 16;

// Panels that many tokens meet together, as far as there are registers: integer scales take some, and where planes are
// worth unpacking so does cutting codes out of them.
template <class Isa, class Format>
constexpr int kTogether = Format::kKind == Kind::kChunk || Format::kKind == Kind::kScaled16 ||
                                  (Isa::kUnpacks && Format::kBits < 8)
                              ? 1
                              : Isa::kPanelsTogether;

template <class Isa, class Format>
void PackedProduct(const PackedArgs& a) {
  if constexpr (Isa::kFoldsScales && Format::kKind == Kind::kChunk) {
    if (a.tokens >= kFoldTokensMin) {
      return ProductOfCopies<Isa, Format, Folded<Format>, 2>(a, FoldPanel<Isa, Format>);
    }
  }
  if constexpr (Isa::kUnpacks && Format::kBits < 8) {
    if (a.tokens >= kUnpackTokensMin) {
      return ProductOfCopies<Isa, Format, Unpacked<Format>, kTogether<Isa, Unpacked<Format>>>(a,
                                                                                              UnpackPanel<Isa, Format>);
    }
  }
  const size_t panel_bytes = PanelBytes<Isa, Format>(a.blocks);
  const uint8_t* panel = a.panels;
  constexpr size_t kPanels = kTogether<Isa, Format>;
  size_t row = 0;
  if constexpr (kPanels > 1) {
    for (; a.tokens >= kTogetherTokensMin && row + kPanels * Isa::kPanelRows <= a.rows;
         row += kPanels * Isa::kPanelRows) {
      PanelsTimesAll<Isa, Format, kPanels>(panel, a, row);
      panel += kPanels * panel_bytes;
    }
  }
  for (; row < a.rows; row += Isa::kPanelRows, panel += panel_bytes) PanelsTimesAll<Isa, Format, 1>(panel, a, row);
}

// The tiles of `tokens` tokens from row format; index as in PackedArgs.
inline void MakeTiles(const QuantizedView& x, const int32_t* index, size_t tokens, int8_t* codes, float* scales,
                      float* sums, int16_t* sums16) {
  size_t token = 0;
  const auto tiles_of = [&](size_t count) {
    for (; token + count <= tokens; token += count) {
      const size_t to = token * x.padded_blocks;
      for (size_t t = 0; t < count; ++t) {
        const size_t from = TokenRow(index, token + t) * x.padded_blocks;
        for (size_t b = 0; b < x.padded_blocks; ++b) {
          const int8_t* block = x.codes + 32 * (from + b);
          int8_t* tile = codes + 32 * (to + count * b) + 4 * t;
          for (size_t j = 0; j < 8; ++j) memcpy(tile + 4 * count * j, block + 4 * j, 4);
          const size_t at = to + count * b + t;
          scales[at] = x.scales[from + b];
          sums[at] = x.sums[from + b];
          memcpy(sums16 + 2 * at, x.sums16 + 2 * (from + b), 4);
        }
      }
    }
  };
  for (size_t count = kTileTokens; count > 0; count /= 2) tiles_of(count);
}

// Rows as the file has them. Many tokens pay for packing panels on the way; those stay in the cache meanwhile.
constexpr size_t kPackTokensMin = 4;

template <class Isa, class Format>
void Int8Product(const Int8Args& a) {
  size_t row = 0;
  if constexpr (Isa::kPanelRows > 0) {
    const bool pack = a.tokens >= kPackTokensMin && a.x.tiles.codes != nullptr;
    for (; pack && row + Isa::kPanelRows <= a.rows; row += Isa::kPanelRows) {
      PackPanel<Isa, Format>(a.weights + row * a.row_bytes, a.row_bytes, a.blocks, a.scratch);
      PackedProduct<Isa, Format>({.panels = a.scratch,
                                  .rows = Isa::kPanelRows,
                                  .blocks = a.blocks,
                                  .x = a.x,
                                  .index = a.index,
                                  .tokens = a.tokens,
                                  .out = a.out + row,
                                  .out_stride = a.out_stride,
                                  .bias = a.bias == nullptr ? nullptr : a.bias + row,
                                  .scratch = a.scratch + PanelBytesMax(a.blocks)});
    }
  }
  RowsProduct<Isa, Format>(a, row);
}

}  // namespace
}  // namespace barn
