#include "worker/service/logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// How many ids of the vocabulary are allowed by bits; -1 if bits beyond it are set.
int64_t CountBits(const std::string& bits, int64_t vocabulary) {
  int64_t count = 0;
  for (const char byte : bits) count += std::popcount(static_cast<uint8_t>(byte));
  const auto last = static_cast<uint8_t>(bits.back());
  return vocabulary % 8 != 0 && last >> (vocabulary % 8) != 0 ? -1 : count;
}

absl::StatusOr<std::vector<int32_t>> ReadGaps(const proto::TokenMask& mask, int64_t vocabulary) {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(std::min<int64_t>(mask.named_gaps_size(), vocabulary)));
  int64_t id = -1;
  for (const uint32_t gap : mask.named_gaps()) {
    id += gap;
    if (gap == 0 || id >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("token mask: id %d after a gap of %d, the vocabulary has %d", id, gap, vocabulary));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace

absl::Status CheckChanges(std::span<const LogitChange> changes, int64_t vocabulary) {
  for (const LogitChange& change : changes) {
    if (change.id < 0 || change.id >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit edit of id %d, the vocabulary has %d", change.id, vocabulary));
    }
    if (!(change.repetition > 0) || std::isinf(change.repetition) || std::isnan(change.add)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit edit of id %d: add %g, repetition %g", change.id, change.add, change.repetition));
    }
  }
  return absl::OkStatus();
}

void ApplyChanges(std::span<const LogitChange> changes, std::span<float> logits) {
  for (const LogitChange& change : changes) {
    float& logit = logits[change.id];
    logit = (logit > 0 ? logit / change.repetition : logit * change.repetition) + change.add;
  }
}

double Deviation(std::span<const float> logits) {
  double sum = 0;
  double squares = 0;
  int64_t count = 0;
  for (const float logit : logits) {
    if (!std::isfinite(logit)) continue;
    sum += logit;
    squares += static_cast<double>(logit) * logit;
    ++count;
  }
  if (count == 0) return 0;
  const double mean = sum / static_cast<double>(count);
  return std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean * mean));
}

absl::StatusOr<LogitMask> ReadMask(const proto::TokenMask& mask, int64_t vocabulary) {
  LogitMask out;
  if (!mask.bits().empty()) {
    const int64_t bytes = (vocabulary + 7) / 8;
    if (mask.named_gaps_size() > 0 || static_cast<int64_t>(mask.bits().size()) != bytes) {
      return absl::InvalidArgumentError(absl::StrFormat("token mask: %d bytes of bits and %d names, %d bytes are due",
                                                        mask.bits().size(), mask.named_gaps_size(), bytes));
    }
    out.form = LogitMask::Form::kBits;
    out.bits = mask.bits();
    out.allowed = CountBits(out.bits, vocabulary);
  } else {
    auto named = ReadGaps(mask, vocabulary);
    if (!named.ok()) return named.status();
    out.form = mask.named_are_forbidden() ? LogitMask::Form::kForbidden : LogitMask::Form::kAllowed;
    out.named = *std::move(named);
    const auto count = static_cast<int64_t>(out.named.size());
    out.allowed = mask.named_are_forbidden() ? vocabulary - count : count;
  }
  if (out.allowed > 0) return out;
  return absl::InvalidArgumentError(absl::StrFormat("token mask: %d ids of %d are allowed", out.allowed, vocabulary));
}

void ApplyMask(const LogitMask& mask, std::span<float> logits) {
  switch (mask.form) {
    case LogitMask::Form::kAll:
      return;
    case LogitMask::Form::kForbidden:
      for (const int32_t id : mask.named) logits[id] = -INFINITY;
      return;
    case LogitMask::Form::kAllowed: {
      // All between two named ids are forbidden.
      size_t next = 0;
      for (const int32_t id : mask.named) {
        std::fill(logits.begin() + static_cast<ptrdiff_t>(next), logits.begin() + id, -INFINITY);
        next = static_cast<size_t>(id) + 1;
      }
      std::fill(logits.begin() + static_cast<ptrdiff_t>(next), logits.end(), -INFINITY);
      return;
    }
    case LogitMask::Form::kBits:
      for (size_t id = 0; id < logits.size(); ++id) {
        if ((static_cast<uint8_t>(mask.bits[id / 8]) >> (id % 8) & 1) == 0) logits[id] = -INFINITY;
      }
      return;
  }
}

}  // namespace barn
