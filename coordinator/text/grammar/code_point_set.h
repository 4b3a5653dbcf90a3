#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace barn::grammar {

inline constexpr uint32_t kCodePointMax = 0x10FFFF;

// Unicode scalar values (no surrogates, which UTF-8 cannot spell) as ascending ranges that neither meet nor touch.
class CodePointSet {
 public:
  struct Range {
    uint32_t low = 0;
    uint32_t high = 0;  // Inclusive.
    friend auto operator<=>(const Range&, const Range&) = default;
  };

  CodePointSet() = default;
  // Any order, overlaps allowed. Values above kCodePointMax and surrogates are left out.
  explicit CodePointSet(std::vector<Range> ranges);

  static CodePointSet Any();
  static CodePointSet One(uint32_t point) { return CodePointSet({{point, point}}); }

  bool Contains(uint32_t point) const;
  bool empty() const { return ranges_.empty(); }
  CodePointSet Complement() const;
  CodePointSet Union(const CodePointSet& other) const;
  CodePointSet Intersection(const CodePointSet& other) const;
  CodePointSet Minus(const CodePointSet& other) const { return Intersection(other.Complement()); }

  const std::vector<Range>& ranges() const { return ranges_; }
  friend auto operator<=>(const CodePointSet&, const CodePointSet&) = default;

 private:
  std::vector<Range> ranges_;
};

// A range of values for each of several places, first place first.
using PlaceRanges = std::vector<std::pair<uint32_t, uint32_t>>;

// Cuts [low, high] into pieces that are products of ranges of digits: numbers of `places` digits in base 2^`bits`.
// Every number of the range is spelled by exactly one piece. high < 2^(bits * places).
std::vector<PlaceRanges> SplitByDigits(uint32_t low, uint32_t high, int bits, int places);

// The bytes that spell the members of `set` in UTF-8 (Unicode Standard, table 3-6), as products of byte ranges.
std::vector<PlaceRanges> Utf8Ranges(const CodePointSet& set);

}  // namespace barn::grammar
