#include "coordinator/text/grammar/code_point_set.h"

#include <algorithm>

namespace barn::grammar {
namespace {

constexpr CodePointSet::Range kSurrogates = {0xD800, 0xDFFF};

void Split(uint32_t low, uint32_t high, int bits, int places, PlaceRanges& head, std::vector<PlaceRanges>& out) {
  const int shift = bits * (places - 1);
  const uint32_t below = (uint32_t{1} << shift) - 1;  // The largest number of the places after the first.
  uint32_t first = low >> shift, last = high >> shift;
  const auto emit = [&](uint32_t from, uint32_t to, uint32_t rest_low, uint32_t rest_high) {
    head.emplace_back(from, to);
    if (places == 1) {
      out.push_back(head);
    } else {
      Split(rest_low, rest_high, bits, places - 1, head, out);
    }
    head.pop_back();
  };
  if (first == last) return emit(first, first, low & below, high & below);
  if ((low & below) != 0) {
    emit(first, first, low & below, below);
    ++first;
  }
  const bool ragged_end = (high & below) != below;
  if (ragged_end) --last;
  if (first <= last) emit(first, last, 0, below);
  if (ragged_end) emit(high >> shift, high >> shift, 0, high & below);
}

}  // namespace

CodePointSet::CodePointSet(std::vector<Range> ranges) {
  std::vector<Range> legal;
  for (const Range& range : ranges) {
    const Range below{range.low, std::min(range.high, kSurrogates.low - 1)};
    const Range above{std::max(range.low, kSurrogates.high + 1), std::min(range.high, kCodePointMax)};
    for (const Range& part : {below, above}) {
      if (part.low <= part.high) legal.push_back(part);
    }
  }
  std::sort(legal.begin(), legal.end());
  for (const Range& range : legal) {
    // Neighbours across the surrogates stay apart: a merged range would hold them.
    const bool touches = !ranges_.empty() && range.low <= ranges_.back().high + 1;
    if (touches) {
      ranges_.back().high = std::max(ranges_.back().high, range.high);
    } else {
      ranges_.push_back(range);
    }
  }
}

CodePointSet CodePointSet::Any() { return CodePointSet({{0, kCodePointMax}}); }

bool CodePointSet::Contains(uint32_t point) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const Range& range) { return point >= range.low && point <= range.high; });
}

CodePointSet CodePointSet::Complement() const {
  std::vector<Range> gaps;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.low > next) gaps.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kCodePointMax) gaps.push_back({next, kCodePointMax});
  return CodePointSet(std::move(gaps));
}

CodePointSet CodePointSet::Union(const CodePointSet& other) const {
  std::vector<Range> all = ranges_;
  all.insert(all.end(), other.ranges_.begin(), other.ranges_.end());
  return CodePointSet(std::move(all));
}

CodePointSet CodePointSet::Intersection(const CodePointSet& other) const {
  std::vector<Range> common;
  for (size_t i = 0, k = 0; i < ranges_.size() && k < other.ranges_.size();) {
    const Range& a = ranges_[i];
    const Range& b = other.ranges_[k];
    const Range both{std::max(a.low, b.low), std::min(a.high, b.high)};
    if (both.low <= both.high) common.push_back(both);
    a.high < b.high ? ++i : ++k;
  }
  return CodePointSet(std::move(common));
}

std::vector<PlaceRanges> SplitByDigits(uint32_t low, uint32_t high, int bits, int places) {
  std::vector<PlaceRanges> out;
  PlaceRanges head;
  Split(low, high, bits, places, head, out);
  return out;
}

std::vector<PlaceRanges> Utf8Ranges(const CodePointSet& set) {
  struct Length {
    uint32_t low, high, mark;  // `mark`: the bits that the first byte begins with.
    int bytes;
  };
  static constexpr Length kLengths[] = {
      {0, 0x7F, 0, 1}, {0x80, 0x7FF, 0xC0, 2}, {0x800, 0xFFFF, 0xE0, 3}, {0x10000, kCodePointMax, 0xF0, 4}};
  std::vector<PlaceRanges> out;
  for (const CodePointSet::Range& range : set.ranges()) {
    for (const Length& length : kLengths) {
      const uint32_t low = std::max(range.low, length.low), high = std::min(range.high, length.high);
      if (low > high) continue;
      if (length.bytes == 1) {
        out.push_back({{low, high}});
        continue;
      }
      for (PlaceRanges& piece : SplitByDigits(low, high, 6, length.bytes)) {
        for (size_t i = 0; i < piece.size(); ++i) {
          const uint32_t mark = i == 0 ? length.mark : 0x80;
          piece[i] = {piece[i].first | mark, piece[i].second | mark};
        }
        out.push_back(std::move(piece));
      }
    }
  }
  return out;
}

}  // namespace barn::grammar
