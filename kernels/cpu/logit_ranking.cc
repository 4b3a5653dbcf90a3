#include "kernels/cpu/logit_ranking.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/float_kernels.h"

namespace barn {
namespace {

constexpr int64_t kBlock = 64;    // Logits under one maximum.
constexpr int64_t kChunk = 8192;  // Logits of one piece of work; a multiple of kBlock.
constexpr float kLowest = -std::numeric_limits<float>::infinity();

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

float OrLowest(float value) { return std::isnan(value) ? kLowest : value; }

bool Better(const RankedLogit& a, const RankedLogit& b) {
  const float x = OrLowest(a.logit), y = OrLowest(b.logit);
  return x > y || (x == y && a.id < b.id);
}

}  // namespace

void LogitRanker::Run(std::span<LogitRanking> rows) {
  CutUp(rows);
  FindMaxima(rows);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto vocabulary = static_cast<int64_t>(rows[r].logits.size());
    rows[r].count = std::clamp<int64_t>(rows[r].count, 0, vocabulary);
    ChooseThreshold(rows[r], states_[r], CeilDiv(vocabulary, kBlock));
  }
  Gather(rows);
  pool_.ParallelFor(static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const bool is_last = r + 1 == static_cast<int64_t>(rows.size());
      Finish(rows[r], states_[r], is_last ? static_cast<int64_t>(chunks_.size()) : states_[r + 1].first_chunk);
    }
  });
}

void LogitRanker::CutUp(std::span<const LogitRanking> rows) {
  states_.resize(rows.size());
  int64_t chunks = 0, blocks = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    states_[r].first_chunk = chunks;
    states_[r].first_block = blocks;
    const auto vocabulary = static_cast<int64_t>(rows[r].logits.size());
    BARN_CHECK(vocabulary > 0);
    chunks += CeilDiv(vocabulary, kChunk);
    blocks += CeilDiv(vocabulary, kBlock);
  }
  chunks_.resize(chunks);
  maxima_.resize(blocks);
  int64_t at = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto vocabulary = static_cast<int64_t>(rows[r].logits.size());
    for (int64_t begin = 0; begin < vocabulary; begin += kChunk, ++at) {
      chunks_[at].row = static_cast<int64_t>(r);
      chunks_[at].begin = begin;
      chunks_[at].end = std::min(vocabulary, begin + kChunk);
    }
  }
}

void LogitRanker::FindMaxima(std::span<const LogitRanking> rows) {
  const FloatKernels& kernels = FloatKernelsFor(isa_);
  pool_.ParallelFor(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks_[c];
      float* maxima = maxima_.data() + states_[chunk.row].first_block + chunk.begin / kBlock;
      for (int64_t i = chunk.begin; i < chunk.end; i += kBlock) {
        *maxima++ = kernels.largest(rows[chunk.row].logits.data() + i, std::min(kBlock, chunk.end - i));
      }
    }
  });
}

// With at least `count` blocks whose largest entry reaches it, at least `count` entries do.
void LogitRanker::ChooseThreshold(LogitRanking& row, Row& state, int64_t blocks) {
  const float* maxima = maxima_.data() + state.first_block;
  row.largest = *std::max_element(maxima, maxima + blocks);
  state.threshold = kLowest;
  if (row.count == 1) {
    state.threshold = row.largest;
  } else if (row.count > 1 && row.count <= blocks) {
    ordered_.assign(maxima, maxima + blocks);
    std::nth_element(ordered_.begin(), ordered_.begin() + (row.count - 1), ordered_.end(), std::greater<float>());
    state.threshold = ordered_[row.count - 1];
  }
}

void LogitRanker::Gather(std::span<const LogitRanking> rows) {
  const FloatKernels& kernels = FloatKernelsFor(isa_);
  pool_.ParallelFor(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      Chunk& chunk = chunks_[c];
      const LogitRanking& row = rows[chunk.row];
      const Row& state = states_[chunk.row];
      const float* maxima = maxima_.data() + state.first_block + chunk.begin / kBlock;
      chunk.candidates.clear();
      chunk.exp_sum = 0;
      for (int64_t i = chunk.begin; i < chunk.end; i += kBlock) {
        const float block_largest = *maxima++;
        const int64_t block_end = std::min(i + kBlock, chunk.end);
        if (std::isfinite(row.largest)) {
          chunk.exp_sum += kernels.exp_sum(row.logits.data() + i, row.largest, block_end - i);
        }
        if (row.count == 0 || block_largest < state.threshold) continue;
        for (int64_t id = i; id < block_end; ++id) {
          if (OrLowest(row.logits[id]) >= state.threshold) {
            chunk.candidates.push_back({static_cast<int32_t>(id), row.logits[id]});
          }
        }
      }
    }
  });
}

void LogitRanker::Finish(LogitRanking& row, const Row& state, int64_t chunk_end) {
  row.best.clear();
  double sum = 0;
  for (int64_t c = state.first_chunk; c < chunk_end; ++c) {
    row.best.insert(row.best.end(), chunks_[c].candidates.begin(), chunks_[c].candidates.end());
    sum += chunks_[c].exp_sum;
  }
  std::partial_sort(row.best.begin(), row.best.begin() + row.count, row.best.end(), Better);
  row.best.resize(row.count);
  row.logsumexp = std::isfinite(row.largest) ? row.largest + std::log(sum) : row.largest;
}

}  // namespace barn
