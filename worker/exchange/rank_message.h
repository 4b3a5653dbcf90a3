#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "worker/exchange/collective.h"

namespace barn {

// What ranks send one another: the columns of one rank in one AllGather call, as a dense block [rows, width] of f32,
// cut into chunks. Every chunk brings this header; native byte order, for both ends are on one machine.
struct RankMessage {
  static constexpr size_t kTokenBytes = 64;
  static constexpr int64_t kChunkFloats = 2000;  // Header and chunk fit one element of UCX's shared-memory queue.
  enum Kind : int32_t { kChunk = 1, kGoodbye = 2 };

  char token[kTokenBytes] = {};  // Padded with zeros.
  int64_t epoch = 0;
  int64_t round = 0;   // AllGather calls of the epoch, from 1.
  int64_t total = 0;   // Floats of the block.
  int64_t offset = 0;  // Of the chunk in the block.
  int32_t count = 0;   // Floats of the chunk.
  int32_t rank = 0;    // Who sends.
  int32_t ranks = 0;
  int32_t kind = 0;
};

// The receiving side of one collective: checks every message before it looks at its data and puts that where it
// belongs. A rank may be one call ahead of this one; that call's block waits here. One thread.
class RankInbox {
 public:
  struct Options {
    int64_t epoch = 0;
    std::string token;
    int rank = 0;
    int ranks = 0;
    int64_t floats_max = 0;  // Of one block.
  };
  explicit RankInbox(const Options& options);

  // The next call begins. DataLoss: a rank that is ahead has sent another size.
  absl::Status Begin(const SharedRows& shared);
  // The call that began is over; its rows may go.
  void End() { shared_ = {}; }
  bool complete() const;

  // Messages of other epochs, or without the token, are ignored and counted. One that makes no sense fails every call
  // from now on with DataLoss.
  void Receive(std::string_view header, std::string_view data);

  // DataLoss as above; Unavailable: a rank that has not sent its block yet said goodbye.
  absl::Status status() const;
  int64_t ignored() const { return ignored_; }
  int64_t round() const { return round_; }

 private:
  struct Peer {
    int64_t received = 0;      // Floats of the block of this round.
    std::vector<float> early;  // The block of the next round, as far as it is there.
    int64_t early_received = 0;
    bool gone = false;
  };

  bool IsOurs(const RankMessage& message) const;
  absl::Status Accept(const RankMessage& message, std::string_view data);
  int64_t Expected(int rank) const { return shared_.rows * (shared_.bounds[rank + 1] - shared_.bounds[rank]); }
  // Puts a part of a rank's block into the rows.
  void Place(int rank, int64_t offset, const float* values, int64_t count);

  const Options options_;
  std::vector<Peer> peers_;  // [ranks]
  SharedRows shared_;        // Without bounds between two calls.
  int64_t round_ = 0;
  int64_t ignored_ = 0;
  absl::Status error_;
};

// Copies `count` floats of this rank's block, from `offset`, to out.
void PackBlock(const SharedRows& shared, int rank, int64_t offset, int64_t count, float* out);

}  // namespace barn
