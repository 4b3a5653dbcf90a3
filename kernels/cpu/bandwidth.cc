#include "kernels/cpu/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cores.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/thread_pool.h"

namespace barn {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;
constexpr int64_t kBufferBytesMin = int64_t{256} << 20;
constexpr int64_t kBufferBytesMax = int64_t{4} << 30;
constexpr int kPassesMin = 5;
constexpr std::chrono::milliseconds kTimeMin{300};

using Lanes [[gnu::vector_size(16)]] = uint64_t;

// Four sums: more loads are on their way than a line takes to arrive.
uint64_t Sum(const std::byte* bytes, int64_t count) {
  Lanes sums[4] = {};
  for (int64_t i = 0; i < count; i += sizeof(sums)) {
    Lanes values[4];
    std::memcpy(values, bytes + i, sizeof(values));
    for (int j = 0; j < 4; ++j) sums[j] += values[j];
  }
  const Lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return sum[0] + sum[1];
}

}  // namespace

absl::StatusOr<double> MeasureReadBandwidth(int threads) {
  if (threads < 1) return absl::InvalidArgumentError(absl::StrCat("bandwidth of ", threads, " threads"));
  const int64_t bytes =
      std::clamp(8 * CoreList().cache_bytes(), kBufferBytesMin, kBufferBytesMax) / kPieceBytes * kPieceBytes;
  absl::StatusOr<std::unique_ptr<Buffer>> buffer = AllocatePages(bytes, PageSize::kHuge);
  if (!buffer.ok()) return buffer.status();
  auto* const data = reinterpret_cast<std::byte*>((*buffer)->data());
  ThreadPool pool(threads, /*pin=*/true);
  const int64_t pieces = bytes / kPieceBytes;
  pool.ParallelFor(pieces, 1, [&](int64_t begin, int64_t end, int) {
    std::memset(data + begin * kPieceBytes, 1, static_cast<size_t>((end - begin) * kPieceBytes));
  });
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::duration best = Clock::duration::max();
  std::vector<uint64_t> sums(static_cast<size_t>(pool.threads()));
  for (int pass = 0; pass < kPassesMin || Clock::now() - start < kTimeMin; ++pass) {
    const Clock::time_point began = Clock::now();
    pool.ParallelFor(pieces, 1, [&](int64_t begin, int64_t end, int thread) {
      sums[static_cast<size_t>(thread)] += Sum(data + begin * kPieceBytes, (end - begin) * kPieceBytes);
    });
    best = std::min(best, Clock::now() - began);
  }
  // Whoever reads the sums keeps the reads: the compiler must not drop them.
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  if (sum == 0) return absl::InternalError("what was written is not what was read");
  return static_cast<double>(bytes) / std::chrono::duration<double>(best).count();
}

}  // namespace barn
