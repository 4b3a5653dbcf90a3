#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace barn {

// How a worker exchanges with other ranks, as it tells the coordinator in its rank address, and that the planner and
// the other ranks. Ranks need the same transport, and each a device of its own.
struct RankLink {
  std::string transport = "";   // "UCX", "NCCL 2.28.9"; empty: it cannot be a rank.
  std::string missing = "";     // Why it cannot.
  std::string device = "";      // Its GPU; empty: processors.
  double read_bytes_per_s = 0;  // Of the GPU's memory, by its datasheet; 0: unknown.
  std::string address = "";     // Bytes for the other ranks' transport.
};

// Bytes of at most kRankAddressBytesMax: an address of UCX as it is, everything else in our own form. Texts are cut to
// what fits.
std::string FormatRankLink(const RankLink& link);

// Never fails: bytes in no form of ours are an address of UCX; none at all are a worker that cannot be a rank.
RankLink ParseRankLink(std::string_view bytes);

inline constexpr size_t kRankAddressBytesMax = 1024;

}  // namespace barn
