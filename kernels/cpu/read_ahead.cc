#include "kernels/cpu/read_ahead.h"

#include <algorithm>

namespace barn {

void ReadAhead::Note(const std::shared_ptr<WeightBytes>& weight) {
  if (last_ != nullptr) last_->next = weight;
  last_ = weight;
}

void ReadAhead::PlanNext(int64_t bytes_max) {
  if (last_ == nullptr) return;
  Forget();
  int count = 0;
  int64_t total = 0;
  for (auto at = last_->next.lock(); at != nullptr && count < kRangesMax && total < bytes_max; at = at->next.lock()) {
    total = Add(count++, at->bytes, total, bytes_max);
  }
  Publish(count, total);
}

void ReadAhead::Plan(std::span<const std::span<const std::byte>> wanted, int64_t bytes_max) {
  Forget();
  int count = 0;
  int64_t total = 0;
  for (const std::span<const std::byte> bytes : wanted) {
    if (count == kRangesMax || total >= bytes_max) break;
    total = Add(count++, bytes, total, bytes_max);
  }
  Publish(count, total);
}

int64_t ReadAhead::Add(int index, std::span<const std::byte> bytes, int64_t total, int64_t bytes_max) {
  ranges_[index].origin.store(reinterpret_cast<uintptr_t>(bytes.data()) - static_cast<uintptr_t>(total),
                              std::memory_order_relaxed);
  total += std::min(static_cast<int64_t>(bytes.size()), bytes_max - total);
  ranges_[index].end.store(total, std::memory_order_relaxed);
  return total;
}

void ReadAhead::Publish(int count, int64_t total) {
  total_.store(total, std::memory_order_relaxed);
  next_.store(0, std::memory_order_relaxed);
  count_.store(count, std::memory_order_relaxed);
}

bool ReadAhead::FetchSome() {
  const int count = count_.load(std::memory_order_relaxed);
  if (count == 0 || next_.load(std::memory_order_relaxed) >= total_.load(std::memory_order_relaxed)) return false;
  const int64_t at = next_.fetch_add(kPieceBytes, std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    if (at >= ranges_[i].end.load(std::memory_order_relaxed)) continue;
    const uintptr_t first = ranges_[i].origin.load(std::memory_order_relaxed) + static_cast<uintptr_t>(at);
    // Into the second-level cache. A piece may reach behind its range: a prefetch cannot fault.
    for (int64_t byte = 0; byte < kPieceBytes; byte += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(first + static_cast<uintptr_t>(byte)), 0, 2);
    }
    return true;
  }
  return false;
}

}  // namespace barn
