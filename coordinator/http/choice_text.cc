#include "coordinator/http/choice_text.h"

#include <algorithm>
#include <utility>

namespace barn {

int64_t CountChars(const std::string& text) {
  // Every byte but a continuation byte (10xxxxxx) begins a code point.
  return std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
}

ChoiceText::ChoiceText(const Tokenizer& tokenizer, std::vector<std::string> stop, const std::set<int32_t>* shown)
    : tokenizer_(tokenizer), decoder_(tokenizer, {.at_text_start = false}, shown), stop_(std::move(stop)) {}

TextDelta ChoiceText::Add(const RequestUpdate& update) {
  TextDelta delta;
  if (done()) return delta;
  cached_tokens_ = std::max(cached_tokens_, update.cached_tokens);
  for (size_t i = 0; i < update.tokens.size() && !done(); ++i) {
    const GeneratedToken& token = update.tokens[i];
    ++generated_tokens_;
    const bool last = update.finish == FinishReason::kEnd && i + 1 == update.tokens.size();
    if (last && tokenizer_.IsEndOfGeneration(token.id)) break;
    held_.push_back({.id = token.id,
                     .logprob = token.logprob,
                     .top = token.top,
                     .start_bytes = decoded_bytes_,
                     .start_chars = decoded_chars_});
    AddText(decoder_.Push(token.id), delta);
  }
  if (update.finish == FinishReason::kNone || done()) return delta;
  AddText(decoder_.Flush(), delta);
  if (done()) return delta;
  delta.text += stop_.Flush();
  Release(true, delta);
  finish_ = update.finish;
  status_ = update.status;
  return delta;
}

void ChoiceText::AddText(const std::string& part, TextDelta& delta) {
  decoded_bytes_ += static_cast<int64_t>(part.size());
  decoded_chars_ += CountChars(part);
  const StopMatcher::Result result = stop_.Push(part);
  emitted_bytes_ += static_cast<int64_t>(result.text.size());
  delta.text += result.text;
  Release(false, delta);
  if (result.stopped) finish_ = FinishReason::kEnd;
}

void ChoiceText::Release(bool all, TextDelta& delta) {
  while (!held_.empty() && (all || held_.front().start_bytes < emitted_bytes_)) {
    delta.tokens.push_back(std::move(held_.front()));
    held_.pop_front();
  }
}

}  // namespace barn
