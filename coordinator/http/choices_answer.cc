#include "coordinator/http/choices_answer.h"

#include <random>

#include "absl/strings/str_format.h"

namespace barn {

ChoicesAnswer::ChoicesAnswer(const Tokenizer& tokenizer, const AnswerShape& shape, size_t choices, bool stream)
    : tokenizer_(tokenizer), stream_(stream) {
  for (size_t i = 0; i < choices; ++i) choices_.emplace_back(tokenizer, shape);
}

std::string ChoicesAnswer::Add(const ChoiceUpdate& update) {
  ChoiceParts& choice = choices_[update.choice];
  if (choice.done()) return "";
  PartsDelta delta = Read(update.choice, update.update);
  const FinishReason finish = choice.finish();
  if (finish == FinishReason::kError || finish == FinishReason::kCancelled) {
    // An error that comes before anything else must still be able to become a plain reply.
    std::string bytes = delta.parts.empty() ? "" : OnDelta(update.choice, std::move(delta));
    if (!error_.has_value()) {
      error_ = FromStatus(finish == FinishReason::kError ? choice.text().status()
                                                         : absl::UnavailableError("the server ended this request"));
    }
    return bytes;
  }
  std::string bytes = OnDelta(update.choice, std::move(delta));
  if (choice.done()) {
    ++choices_done_;
    bytes += OnFinish(update.choice);
  }
  return bytes;
}

int64_t ChoicesAnswer::generated_tokens() const {
  int64_t tokens = 0;
  for (const ChoiceParts& choice : choices_) tokens += choice.text().generated_tokens();
  return tokens;
}

std::string NewId(absl::string_view prefix) {
  std::random_device random;
  return absl::StrFormat("%s%08x%08x%08x%08x", prefix, random(), random(), random(), random());
}

}  // namespace barn
