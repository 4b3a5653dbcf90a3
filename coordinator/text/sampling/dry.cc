#include "coordinator/text/sampling/dry.h"

#include <algorithm>
#include <cmath>

#include "absl/container/btree_map.h"

namespace barn {
namespace {

constexpr int64_t kFewTokens = 16;   // Up to so many new ones are taken in one by one.
constexpr double kPenaltyMax = 1e6;  // A logit that is lower by that is never drawn; powers stay finite.

size_t LongestBytes(const std::vector<std::string>& texts) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes = std::max(bytes, text.size());
  return bytes;
}

}  // namespace

Dry::Dry(const SamplingParams& params)
    : multiplier_(params.Uses(SamplerKind::kDry) ? params.dry_multiplier : 0),
      base_(params.dry_base),
      allowed_length_(params.dry_allowed_length),
      window_(params.dry_penalty_last_n < 0 ? kPenaltyWindowTokensMax : params.dry_penalty_last_n),
      breakers_(params.tokenizer == nullptr ? std::vector<std::string>() : params.dry_sequence_breakers),
      tokenizer_(params.tokenizer) {}

bool Dry::HoldsBreaker(int32_t id) const {
  if (breakers_.empty()) return false;
  const std::string piece = tokenizer_->Piece(id, /*special=*/true);
  return std::any_of(breakers_.begin(), breakers_.end(),
                     [&](const std::string& breaker) { return piece.find(breaker) != std::string::npos; });
}

// Whether a breaker ends within the token `id`, which is the next one of the text.
bool Dry::TouchesBreaker(int32_t id) {
  if (breakers_.empty()) return false;
  const size_t old_bytes = tail_.size();
  tail_ += tokenizer_->Piece(id, /*special=*/true);
  bool touches = false;
  for (const std::string& breaker : breakers_) {
    const size_t from = old_bytes >= breaker.size() ? old_bytes - breaker.size() + 1 : 0;
    touches = touches || tail_.find(breaker, from) != std::string::npos;
  }
  const size_t keep = LongestBytes(breakers_) - 1;
  if (tail_.size() > keep) tail_.erase(0, tail_.size() - keep);
  return touches;
}

void Dry::Append(std::span<const int32_t> tokens, int64_t index) {
  std::vector<int64_t>& places = places_[tokens[index]];
  std::vector<Match> grown;
  if (since_breaker_ > 0) {
    auto old = matches_.begin();
    const auto first = std::lower_bound(places.begin(), places.end(), index + 1 - window_);
    for (auto place = first; place != places.end(); ++place) {
      while (old != matches_.end() && old->end < *place) ++old;
      const bool extends = old != matches_.end() && old->end == *place;
      grown.push_back({.end = *place + 1, .length = extends ? old->length + 1 : 1});
    }
  }
  matches_ = std::move(grown);
  places.push_back(index);
}

// The common suffix of all tokens and of those up to `end`, for every end: the Z function of the reversed text.
void Dry::FindAll(std::span<const int32_t> tokens) {
  const int64_t first = std::max<int64_t>(0, std::ssize(tokens) - window_);
  const std::span<const int32_t> text = tokens.subspan(first);
  const int64_t n = std::ssize(text);
  std::vector<int64_t> common(n, 0);  // [i]: of the reversed text and its rest from i.
  for (int64_t i = 1, left = 0, right = 0; i < n; ++i) {
    if (i < right) common[i] = std::min(right - i, common[i - left]);
    while (i + common[i] < n && text[n - 1 - common[i]] == text[n - 1 - i - common[i]]) ++common[i];
    if (i + common[i] > right) {
      left = i;
      right = i + common[i];
    }
  }
  matches_.clear();
  places_.clear();
  for (int64_t i = 0; i < n; ++i) places_[text[i]].push_back(first + i);
  for (int64_t i = n - 1; i > 0; --i) {
    const int64_t length = std::min(common[i], since_breaker_);
    if (length > 0) matches_.push_back({.end = first + n - i, .length = length});
  }
}

void Dry::Update(std::span<const int32_t> tokens) {
  if (!active()) return;
  const bool few = std::ssize(tokens) - seen_ <= kFewTokens;
  for (; seen_ < std::ssize(tokens); ++seen_) {
    since_breaker_ = TouchesBreaker(tokens[seen_]) ? 0 : since_breaker_ + 1;
    if (few) Append(tokens, seen_);
  }
  if (!few) FindAll(tokens);
}

void Dry::Forget() {
  seen_ = 0;
  since_breaker_ = 0;
  tail_.clear();
  matches_.clear();
  places_.clear();
}

void Dry::AddEdits(std::span<const int32_t> tokens, std::vector<LogitEdit>& edits) const {
  if (!active()) return;
  const int64_t first = std::max<int64_t>(0, std::ssize(tokens) - window_);
  absl::btree_map<int32_t, int64_t> longest;
  for (const Match& match : matches_) {
    const int64_t length = std::min({match.length, match.end - first, since_breaker_});
    if (length < allowed_length_) continue;
    int64_t& known = longest[tokens[match.end]];
    known = std::max(known, length);
  }
  for (const auto& [id, length] : longest) {
    if (HoldsBreaker(id)) continue;
    const double penalty = multiplier_ * std::pow(base_, static_cast<double>(length - allowed_length_));
    edits.push_back({.id = id, .add = -static_cast<float>(std::min(penalty, kPenaltyMax))});
  }
}

}  // namespace barn
