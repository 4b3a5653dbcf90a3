#include "coordinator/text/tools/thought_limit.h"

#include <algorithm>
#include <utility>

#include "coordinator/text/tools/harmony_markers.h"
#include "coordinator/text/tools/marker_search.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr int64_t kPatienceTokens = 8;  // For a character or a mark that has begun at the limit.

// Bytes at the end of `text` that are the beginning of a character.
size_t IncompleteBytes(std::string_view text) {
  for (size_t bytes = std::min<size_t>(text.size(), 3); bytes > 0; --bytes) {
    if (ReadUtf8(text.substr(text.size() - bytes)).kind == Utf8Kind::kIncomplete) return bytes;
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ThoughtLimit>> MakeThoughtLimit(const AnswerFormat& format,
                                                                     const Tokenizer& tokenizer, bool begun,
                                                                     int64_t tokens, std::string_view message) {
  if (!format.reasons()) return nullptr;
  ThoughtLimit limit{.tokens = tokens, .begun = begun, .tokenizer = &tokenizer};
  std::string closing(message);
  if (format.family == CallFamily::kHarmony) {
    limit.again = true;
    limit.begin = std::string(kHarmonyChannel).append("analysis").append(kHarmonyMessage);
    limit.ends = {"<|end|>", "<|call|>", "<|return|>", std::string(kHarmonyStart), std::string(kHarmonyChannel)};
    closing += "<|end|><|start|>assistant<|channel|>final<|message|>";
  } else {
    limit.begin = format.think_begin;
    limit.ends = {format.think_end};
    // As models write it that were trained with a line for the mark.
    if (!closing.empty()) closing += '\n';
    closing += format.think_end + "\n\n";
  }
  BARN_ASSIGN_OR_RETURN(limit.closing,
                        tokenizer.Encode(closing, {.add_special = false, .parse_special = true, .continues = true}));
  return std::make_shared<const ThoughtLimit>(std::move(limit));
}

ThoughtWatch::ThoughtWatch(std::shared_ptr<const ThoughtLimit> limit)
    : limit_(std::move(limit)), state_(limit_->begun ? State::kInside : State::kBefore), left_(limit_->tokens) {
  if (!limit_->begun && limit_->begin.empty()) state_ = State::kOver;
}

bool ThoughtWatch::near() const {
  if (state_ == State::kOver) return false;
  return left_ <= (state_ == State::kInside ? 1 : 0);
}

bool ThoughtWatch::Push(int32_t id) {
  if (state_ == State::kOver) return false;
  tail_ += limit_->tokenizer->Piece(id, true);
  if (state_ == State::kBefore) {
    if (!FindBegin()) return false;
  } else {
    --left_;
  }
  if (FindEnd() || left_ > 0 || !EndsWhole()) return false;
  state_ = limit_->again ? State::kBefore : State::kOver;
  tail_.clear();
  return true;
}

// Leaves in the tail what comes behind the mark.
bool ThoughtWatch::FindBegin() {
  const std::string& begin = limit_->begin;
  if (!limit_->again) {
    const size_t first = std::min(tail_.find_first_not_of(kSpace), tail_.size());
    const std::string_view rest = std::string_view(tail_).substr(first);
    if (rest.size() < begin.size()) {
      if (!begin.starts_with(rest)) state_ = State::kOver;
      if (rest.empty()) tail_.clear();
      return false;
    }
    if (!rest.starts_with(begin)) {
      state_ = State::kOver;
      return false;
    }
    tail_.erase(0, first + begin.size());
  } else {
    const size_t at = tail_.find(begin);
    if (at == tail_.npos) {
      tail_.erase(0, tail_.size() - std::min(tail_.size(), begin.size() - 1));
      return false;
    }
    tail_.erase(0, at + begin.size());
  }
  state_ = State::kInside;
  return true;
}

bool ThoughtWatch::FindEnd() {
  const MarkerMatch match = FindMarker(tail_, limit_->ends);
  if (!match.found()) {
    // What may become a mark, or the character that the last token has begun.
    tail_.erase(0, std::min(match.at, tail_.size() - IncompleteBytes(tail_)));
    return false;
  }
  const std::string& end = limit_->ends[match.marker];
  // An end may be the beginning of the next begin.
  tail_.erase(0, match.at + (limit_->again && limit_->begin.starts_with(end) ? 0 : end.size()));
  state_ = limit_->again ? State::kBefore : State::kOver;
  return true;
}

// Neither a character nor a mark is cut.
bool ThoughtWatch::EndsWhole() const { return tail_.empty() || left_ <= -kPatienceTokens; }

}  // namespace barn
