#include "sharding/rank_link.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace barn {
namespace {

// No address of UCX begins so: it begins with a process id, and this would be one beyond all of Linux.
constexpr std::string_view kForm = "barn-rank 1\n";
constexpr size_t kTextBytesMax = 200;

std::string Line(std::string_view text) {
  std::string line(text.substr(0, kTextBytesMax));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return line + "\n";
}

std::string_view TakeLine(std::string_view& bytes) {
  const size_t end = std::min(bytes.find('\n'), bytes.size());
  const std::string_view line = bytes.substr(0, std::min(end, kTextBytesMax));
  bytes.remove_prefix(std::min(end + 1, bytes.size()));
  return line;
}

}  // namespace

std::string FormatRankLink(const RankLink& link) {
  if (link.transport == "UCX") return link.address;
  std::string bytes(kForm);
  bytes += Line(link.transport) + Line(link.missing) + Line(link.device) + absl::StrCat(link.read_bytes_per_s, "\n");
  return bytes + link.address.substr(0, kRankAddressBytesMax - bytes.size());
}

RankLink ParseRankLink(std::string_view bytes) {
  if (!bytes.starts_with(kForm)) {
    if (bytes.empty()) return {.missing = "it has no address for other ranks"};
    return {.transport = "UCX", .address = std::string(bytes)};
  }
  bytes.remove_prefix(kForm.size());
  RankLink link;
  link.transport = TakeLine(bytes);
  link.missing = TakeLine(bytes);
  link.device = TakeLine(bytes);
  const std::string_view speed = TakeLine(bytes);
  if (!absl::SimpleAtod(absl::string_view(speed.data(), speed.size()), &link.read_bytes_per_s) ||
      !(link.read_bytes_per_s >= 0 && link.read_bytes_per_s < 1e18)) {
    link.read_bytes_per_s = 0;
  }
  link.address = bytes;
  if (link.transport.empty() && link.missing.empty()) link.missing = "it does not say how to reach it";
  return link;
}

}  // namespace barn
