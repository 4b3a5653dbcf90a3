#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"

namespace barn {

// What the answers of all dialects share: the choices, which of them are complete, what failed. A dialect words it.
class ChoicesAnswer : public Answer {
 public:
  // `tokenizer` outlives this.
  ChoicesAnswer(const Tokenizer& tokenizer, const AnswerShape& shape, size_t choices, bool stream);

  bool streams() const final { return stream_; }
  bool done(size_t choice) const final { return choices_[choice].done(); }
  bool done() const final { return error_.has_value() || choices_done_ == choices_.size(); }
  const ApiError* error() const final { return error_.has_value() ? &*error_ : nullptr; }
  std::string Add(const ChoiceUpdate& update) final;

 protected:
  // Streaming: the events of a delta, which may be empty, and of the end of a choice. Otherwise they return "".
  virtual std::string OnDelta(size_t choice, PartsDelta delta) = 0;
  virtual std::string OnFinish(size_t choice) = 0;
  virtual PartsDelta Read(size_t choice, const RequestUpdate& update) { return choices_[choice].Add(update); }

  ChoiceParts& choice(size_t index) { return choices_[index]; }
  const ChoiceParts& choice(size_t index) const { return choices_[index]; }
  size_t choices() const { return choices_.size(); }
  int64_t generated_tokens() const;

  const Tokenizer& tokenizer_;

 private:
  const bool stream_;
  std::vector<ChoiceParts> choices_;
  size_t choices_done_ = 0;
  std::optional<ApiError> error_;
};

// Hard to guess, so that nobody finds another's answer by its id: the prefix and 32 hexadecimal digits.
std::string NewId(absl::string_view prefix);

}  // namespace barn
