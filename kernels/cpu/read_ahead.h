#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace barn {

// The bytes that a product with a weight reads, and the weight whose product came next the last time.
struct WeightBytes {
  std::span<const std::byte> bytes;
  std::weak_ptr<WeightBytes> next;
};

// Weights that will soon be wanted, fetched into the caches by threads that have nothing else to do: between two
// products, and between two steps, the memory would lie idle. Everything here is a hint. Nothing is read, so a weight
// may be gone by the time it is asked for, and a thread that sees half of a new plan does no harm.
class ReadAhead {
 public:
  // Of one gap between products: half of a usual second-level cache.
  static constexpr int64_t kGapBytes = 512 << 10;
  // With more rows, products are bound by arithmetic.
  static constexpr int64_t kRowsMax = 8;

  // One thread plans.

  // A product reads this weight now.
  void Note(const std::shared_ptr<WeightBytes>& weight);
  // Up to bytes_max of the weights that came after the one noted last.
  void PlanNext(int64_t bytes_max);
  // Up to bytes_max of these.
  void Plan(std::span<const std::span<const std::byte>> wanted, int64_t bytes_max);
  void Forget() { count_.store(0, std::memory_order_relaxed); }

  // Asks for the next few of the planned bytes. False: none are left. Any thread.
  bool FetchSome();

 private:
  static constexpr int kRangesMax = 32;
  static constexpr int64_t kPieceBytes = 1024;  // About 50 ns of one core's share of the memory.

  // The end of a range, counted over all of the plan; and its first byte, less the bytes of the ranges before.
  struct Range {
    std::atomic<int64_t> end = 0;
    std::atomic<uintptr_t> origin = 0;
  };
  // Adds a range behind `total` bytes; returns the new total.
  int64_t Add(int index, std::span<const std::byte> bytes, int64_t total, int64_t bytes_max);
  void Publish(int count, int64_t total);

  std::shared_ptr<WeightBytes> last_;
  std::array<Range, kRangesMax> ranges_;
  std::atomic<int> count_ = 0;
  std::atomic<int64_t> total_ = 0;
  alignas(64) std::atomic<int64_t> next_ = 0;
};

}  // namespace barn
