#include "worker/service/block_tables.h"

#include "absl/strings/str_format.h"

namespace barn {

absl::StatusOr<std::span<const int32_t>> BlockTables::Update(int64_t sequence_id, int64_t offset,
                                                             std::span<const int32_t> new_blocks, int64_t positions) {
  const auto found = tables_.find(sequence_id);
  const int64_t known = found == tables_.end() ? 0 : static_cast<int64_t>(found->second.size());
  if (offset < 0 || offset > known) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: block_offset %d, %d blocks are known", sequence_id, offset, known));
  }
  const int64_t count = offset + static_cast<int64_t>(new_blocks.size());
  if (count > bounds_.kv_blocks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: a table of %d blocks, the pool has %d", sequence_id, count, bounds_.kv_blocks));
  }
  // count is bounded by the pool, so the product fits.
  if (positions < 0 || positions > count * bounds_.kv_block_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence %d: %d blocks of %d tokens do not reach position %d",
                                                      sequence_id, count, bounds_.kv_block_tokens, positions));
  }
  for (const int32_t block : new_blocks) {
    if (block < 0 || block >= bounds_.kv_blocks) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d: block %d, the pool has %d", sequence_id, block, bounds_.kv_blocks));
    }
  }
  if (found == tables_.end() && sequences() >= kSequencesMax) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("sequence %d: %d sequences are open already", sequence_id, kSequencesMax));
  }
  std::vector<int32_t>& table = tables_[sequence_id];
  table.resize(offset);
  table.insert(table.end(), new_blocks.begin(), new_blocks.end());
  return std::span<const int32_t>(table);
}

}  // namespace barn
