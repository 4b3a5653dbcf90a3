#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace barn {

// Device::RankLogits on the CPU: all threads share the rows of a vocabulary. Keeps its working memory.
class LogitRanker {
 public:
  LogitRanker(Isa isa, ThreadPool& pool) : isa_(isa), pool_(pool) {}

  void Run(std::span<LogitRanking> rows);

 private:
  // One row, on the way.
  struct Row {
    int64_t first_chunk = 0;  // Of all rows' chunks.
    int64_t first_block = 0;  // In maxima_.
    float threshold = 0;      // At least `count` logits are not below it.
  };
  // A piece of a row that one thread takes.
  struct Chunk {
    int64_t row = 0;
    int64_t begin = 0;  // Logits of the row.
    int64_t end = 0;
    double exp_sum = 0;
    std::vector<RankedLogit> candidates;  // Those that may be among the best.
  };

  void CutUp(std::span<const LogitRanking> rows);
  void FindMaxima(std::span<const LogitRanking> rows);
  void ChooseThreshold(LogitRanking& row, Row& state, int64_t blocks);
  void Gather(std::span<const LogitRanking> rows);
  void Finish(LogitRanking& row, const Row& state, int64_t chunk_end);

  const Isa isa_;
  ThreadPool& pool_;
  std::vector<Row> states_;
  std::vector<Chunk> chunks_;
  std::vector<float> maxima_;   // Of blocks of logits.
  std::vector<float> ordered_;  // Of one row.
};

}  // namespace barn
