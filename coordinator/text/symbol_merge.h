#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace barn {

// A stretch of text under merging. The list of living symbols runs through `next`; a merged symbol swallows its right
// neighbour, whose length becomes 0.
struct Symbol {
  int32_t begin = 0;
  int32_t length_bytes = 0;
  int32_t id = -1;  // Meaning is the caller's; the merge result's id after a merge.
  int32_t previous = -1;
  int32_t next = -1;
};

struct MergeResult {
  double priority = 0;  // Higher merges first; must not be NaN.
  int32_t id = -1;
};

// Merges neighbours, highest priority first and leftmost among equals, until no pair joins. n log n in the number of
// symbols.
class SymbolMerger {
 public:
  // `symbols` come in text order; links are set here. `join(left, right)` returns an optional<MergeResult>.
  template <class Join>
  void Run(std::vector<Symbol>& symbols, const Join& join) {
    heap_.clear();
    for (size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].previous = static_cast<int32_t>(i) - 1;
      symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
    }
    for (size_t i = 0; i + 1 < symbols.size(); ++i) Offer(symbols, static_cast<int32_t>(i), join);
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Pair pair = heap_.back();
      heap_.pop_back();
      Symbol& left = symbols[pair.left];
      Symbol& right = symbols[pair.right];
      // A pair is stale when one side was swallowed or has grown since.
      if (left.length_bytes == 0 || right.length_bytes == 0 ||
          left.length_bytes + right.length_bytes != pair.length_bytes) {
        continue;
      }
      left.length_bytes = pair.length_bytes;
      left.id = pair.id;
      left.next = right.next;
      right.length_bytes = 0;
      if (left.next >= 0) symbols[left.next].previous = pair.left;
      if (left.previous >= 0) Offer(symbols, left.previous, join);
      Offer(symbols, pair.left, join);
    }
  }

 private:
  struct Pair {
    double priority;
    int32_t left;
    int32_t right;
    int32_t length_bytes;
    int32_t id;
    bool operator<(const Pair& other) const {
      return priority != other.priority ? priority < other.priority : left > other.left;
    }
  };

  template <class Join>
  void Offer(const std::vector<Symbol>& symbols, int32_t left, const Join& join) {
    const int32_t right = symbols[left].next;
    if (right < 0) return;
    if (std::optional<MergeResult> result = join(symbols[left], symbols[right])) {
      heap_.push_back(
          {result->priority, left, right, symbols[left].length_bytes + symbols[right].length_bytes, result->id});
      std::push_heap(heap_.begin(), heap_.end());
    }
  }

  std::vector<Pair> heap_;  // Kept between runs to save allocations.
};

}  // namespace barn
