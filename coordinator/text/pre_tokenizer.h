#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace barn {

// Cuts text into the words that byte-level BPE merges within. Thread-safe: matching state lives in each call.
class PreTokenizer {
 public:
  // `patterns` in PCRE2 syntax; see PreTokenizerFamily. InvalidArgument: one does not compile.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Create(const std::vector<std::string_view>& patterns);
  ~PreTokenizer();

  // The words of `text` in order; they borrow it, none is empty, and together they are the text. A byte that is not
  // well-formed UTF-8 is a word of its own. ResourceExhausted: a pattern hit its match limit.
  absl::Status Split(std::string_view text, std::vector<std::string_view>* words) const;

 private:
  struct Patterns;
  explicit PreTokenizer(std::unique_ptr<Patterns> patterns);

  std::unique_ptr<Patterns> patterns_;
};

}  // namespace barn
