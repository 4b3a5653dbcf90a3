#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/tools/answer_format.h"

namespace barn {

// How many tokens an answer may think.
struct ThoughtLimit {
  int64_t tokens = 0;                    // Between the marks.
  std::string begin = {};                // Opens the thoughts.
  std::vector<std::string> ends = {};    // Each closes them.
  bool begun = false;                    // The prompt has opened them.
  bool again = false;                    // They may be opened anywhere and more than once; else only where the answer
                                         // begins.
  std::vector<int32_t> closing = {};     // What the answer goes on with at the limit.
  const Tokenizer* tokenizer = nullptr;  // Outlives the request.
};

// The limit for answers of this form, with `message` (may be empty) as their last thought where they reach it. Null for
// a form that marks no reasoning. Errors: see Tokenizer::Encode.
absl::StatusOr<std::shared_ptr<const ThoughtLimit>> MakeThoughtLimit(const AnswerFormat& format,
                                                                     const Tokenizer& tokenizer, bool begun,
                                                                     int64_t tokens, std::string_view message);

// Follows an answer, token by token, and tells when its thoughts have reached their limit.
class ThoughtWatch {
 public:
  explicit ThoughtWatch(std::shared_ptr<const ThoughtLimit> limit);

  // Takes the next token that the model has said. True: limit().closing comes next, whatever it would say; those
  // tokens are not to be pushed.
  bool Push(int32_t id);
  // Whether Push may be true for the next token.
  bool near() const;
  const ThoughtLimit& limit() const { return *limit_; }

 private:
  enum class State { kBefore, kInside, kOver };

  bool FindBegin();
  bool FindEnd();
  bool EndsWhole() const;

  std::shared_ptr<const ThoughtLimit> limit_;
  State state_;
  int64_t left_;
  std::string tail_;  // Bytes that a mark may begin in.
};

}  // namespace barn
