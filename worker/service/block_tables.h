#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace barn {

// What this worker remembers of each sequence between steps: its KV block table, which travels as differences.
class BlockTables {
 public:
  struct Bounds {
    int64_t kv_blocks = 0;
    int64_t kv_block_tokens = 0;
  };
  static constexpr int64_t kSequencesMax = 1 << 16;

  explicit BlockTables(Bounds bounds) : bounds_(bounds) {}

  // Forgets a sequence; an unknown one is ignored.
  void Release(int64_t sequence_id) { tables_.erase(sequence_id); }

  // Keeps the first `offset` known blocks of a sequence, appends new_blocks and returns the table, which covers
  // positions [0, positions). It stays valid until the sequence's next change. InvalidArgument: offset beyond what is
  // known, a block outside the pool, a table longer than the pool, or one that does not reach; nothing changes then.
  // ResourceExhausted: too many sequences.
  absl::StatusOr<std::span<const int32_t>> Update(int64_t sequence_id, int64_t offset,
                                                  std::span<const int32_t> new_blocks, int64_t positions);

  int64_t sequences() const { return static_cast<int64_t>(tables_.size()); }

 private:
  const Bounds bounds_;
  std::map<int64_t, std::vector<int32_t>> tables_;
};

}  // namespace barn
