#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/tokenizer.h"

namespace barn::grammar {

// Compiles grammars for one model and keeps the recent ones, so that requests that come again and again with the same
// schema pay once, masks included. Thread-safe.
class GrammarCache {
 public:
  static constexpr int64_t kBytesMax = int64_t{64} << 20;  // Of all that are kept.
  static constexpr size_t kGrammarsMax = 64;

  // `tokenizer` outlives this.
  explicit GrammarCache(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // The same source gives the same grammar while it is kept. Errors as Grammar::Compile; InvalidArgument for a
  // vocabulary without pieces.
  absl::StatusOr<Constraint> Get(const Source& source);

 private:
  struct Entry {
    Source source;
    std::shared_ptr<const Grammar> grammar;
    int64_t bytes = 0;
  };

  absl::StatusOr<std::shared_ptr<const TokenTrie>> Tokens();

  const Tokenizer& tokenizer_;
  absl::Mutex mutex_;
  std::shared_ptr<const TokenTrie> tokens_ ABSL_GUARDED_BY(mutex_);  // Made when the first answer is constrained.
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);                 // Most recent first.
};

}  // namespace barn::grammar
