#include "coordinator/cli/kl_base.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

constexpr char kMagic[] = "BARNKL01";
constexpr size_t kMagicBytes = sizeof(kMagic) - 1;

}  // namespace

absl::StatusOr<KlBase> KlBase::Open(const std::string& path, bool save, int64_t vocabulary) {
  KlBase base;
  base.path_ = path;
  base.save_ = save;
  base.vocabulary_ = vocabulary;
  base.file_.open(path, std::ios::binary | (save ? std::ios::out | std::ios::trunc : std::ios::in));
  if (!base.file_) {
    return absl::NotFoundError(absl::StrFormat("cannot open %s", path));
  }
  uint64_t stored = static_cast<uint64_t>(vocabulary);
  if (save) {
    base.file_.write(kMagic, kMagicBytes);
    base.file_.write(reinterpret_cast<const char*>(&stored), sizeof(stored));
    return base;
  }
  char magic[kMagicBytes] = {};
  base.file_.read(magic, kMagicBytes);
  base.file_.read(reinterpret_cast<char*>(&stored), sizeof(stored));
  if (!base.file_ || std::memcmp(magic, kMagic, kMagicBytes) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("%s was not written by --save-base", path));
  }
  if (stored != static_cast<uint64_t>(vocabulary)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s was made with a vocabulary of %d, this model has %d", path, stored, vocabulary));
  }
  return base;
}

absl::Status KlBase::Add(const PromptScore& score) {
  if (static_cast<int64_t>(score.top.size()) != vocabulary_) {
    return absl::InternalError(
        absl::StrFormat("position %d came with %d of %d candidates", score.index, score.top.size(), vocabulary_));
  }
  std::vector<float> mine(vocabulary_);
  for (const TokenLogprob& candidate : score.top) {
    mine[candidate.id] = candidate.logprob;
  }
  uint32_t id = static_cast<uint32_t>(score.id);
  const auto bytes = static_cast<std::streamsize>(vocabulary_ * sizeof(float));
  if (save_) {
    file_.write(reinterpret_cast<const char*>(&id), sizeof(id));
    file_.write(reinterpret_cast<const char*>(mine.data()), bytes);
    return absl::OkStatus();
  }
  std::vector<float> theirs(vocabulary_);
  file_.read(reinterpret_cast<char*>(&id), sizeof(id));
  file_.read(reinterpret_cast<char*>(theirs.data()), bytes);
  if (!file_ || id != static_cast<uint32_t>(score.id)) {
    return absl::DataLossError(absl::StrFormat("%s does not hold position %d of this text", path_, positions_));
  }
  double divergence = 0;
  for (int64_t i = 0; i < vocabulary_; ++i) {
    divergence += std::exp(static_cast<double>(theirs[i])) * (static_cast<double>(theirs[i]) - mine[i]);
  }
  ++positions_;
  sum_ += divergence;
  squares_ += divergence * divergence;
  const auto their_best = std::max_element(theirs.begin(), theirs.end()) - theirs.begin();
  same_top_ += their_best == score.top.front().id ? 1 : 0;
  return absl::OkStatus();
}

absl::Status KlBase::Finish() {
  if (save_ && !file_.flush()) {
    return absl::ResourceExhaustedError(absl::StrFormat("cannot write %s", path_));
  }
  return absl::OkStatus();
}

double KlBase::kl_mean() const { return positions_ == 0 ? 0 : sum_ / static_cast<double>(positions_); }

double KlBase::kl_standard_error() const {
  if (positions_ < 2) {
    return 0;
  }
  const double variance = squares_ / static_cast<double>(positions_) - kl_mean() * kl_mean();
  return std::sqrt(std::max(0.0, variance) / static_cast<double>(positions_ - 1));
}

double KlBase::same_top_share() const {
  return positions_ == 0 ? 0 : static_cast<double>(same_top_) / static_cast<double>(positions_);
}

}  // namespace barn
