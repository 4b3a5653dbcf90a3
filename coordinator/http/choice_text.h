#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/scheduler/request.h"
#include "coordinator/text/incremental_decoder.h"
#include "coordinator/text/stop.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// A token of an answer (or of an echoed prompt) and where its text stands.
struct TextToken {
  int32_t id = 0;
  std::optional<double> logprob;  // Absent for the first token of a prompt, which nothing predicts.
  std::vector<TokenLogprob> top;
  int64_t start_bytes = 0;  // Text of the choice before this token.
  int64_t start_chars = 0;  // The same in code points.
};

// What an answer grew by. The tokens are those whose text begins in `text` or before.
struct TextDelta {
  std::string text;
  std::vector<TextToken> tokens;
};

// The number of code points in well-formed UTF-8.
int64_t CountChars(const std::string& text);

// The text of one choice as it grows: ids become UTF-8, the text ends at the first stop string or at the
// end-of-generation token, and neither is part of it. One thread.
class ChoiceText {
 public:
  // `shown`: see IncrementalDecoder.
  ChoiceText(const Tokenizer& tokenizer, std::vector<std::string> stop, const std::set<int32_t>* shown = nullptr);

  // Takes the tokens of an update and, when it is the last one, the rest that was held back.
  TextDelta Add(const RequestUpdate& update);

  // Code points that stand before the text, from an echoed prompt. Before the first Add().
  void SkipChars(int64_t chars) { decoded_chars_ = chars; }

  bool done() const { return finish_ != FinishReason::kNone; }
  FinishReason finish() const { return finish_; }  // kEnd also for a stop string.
  const absl::Status& status() const { return status_; }
  const std::string& stop_string() const { return stop_.matched(); }  // That ended it; empty if none did.
  int64_t generated_tokens() const { return generated_tokens_; }
  int64_t cached_tokens() const { return cached_tokens_; }  // Of the prompt.

 private:
  void AddText(const std::string& part, TextDelta& delta);
  void Release(bool all, TextDelta& delta);

  const Tokenizer& tokenizer_;
  IncrementalDecoder decoder_;
  StopMatcher stop_;
  std::deque<TextToken> held_;  // Their text is not emitted yet.
  int64_t decoded_bytes_ = 0;
  int64_t decoded_chars_ = 0;
  int64_t emitted_bytes_ = 0;
  int64_t generated_tokens_ = 0;
  int64_t cached_tokens_ = 0;
  FinishReason finish_ = FinishReason::kNone;
  absl::Status status_;
};

}  // namespace barn
