#include "coordinator/text/grammar/grammar_cache.h"

#include <algorithm>

#include "proto/base/status.h"

namespace barn::grammar {
namespace {

int64_t SourceBytes(const Source& source) {
  size_t bytes = source.gbnf.size();
  for (const auto& [name, schema] : source.schemas) bytes += name.size() + schema.size();
  return static_cast<int64_t>(bytes);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TokenTrie>> GrammarCache::Tokens() {
  const absl::MutexLock lock(&mutex_);
  if (tokens_ == nullptr) {
    if (!tokenizer_.has_pieces()) {
      return absl::InvalidArgumentError("this model has no vocabulary: its answers cannot be constrained");
    }
    BARN_ASSIGN_OR_RETURN(TokenTrie trie, TokenTrie::Create(tokenizer_));
    tokens_ = std::make_shared<const TokenTrie>(std::move(trie));
  }
  return tokens_;
}

absl::StatusOr<Constraint> GrammarCache::Get(const Source& source) {
  BARN_ASSIGN_OR_RETURN(std::shared_ptr<const TokenTrie> tokens, Tokens());
  {
    const absl::MutexLock lock(&mutex_);
    const auto found =
        std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.source == source; });
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
      return Constraint{.grammar = found->grammar, .tokens = std::move(tokens)};
    }
  }
  BARN_ASSIGN_OR_RETURN(std::shared_ptr<const Grammar> grammar, Grammar::Compile(source));
  const absl::MutexLock lock(&mutex_);
  entries_.push_front({source, grammar, SourceBytes(source) + grammar->memory_bytes()});
  int64_t bytes = 0;
  size_t kept = 0;
  auto entry = entries_.begin();
  for (; entry != entries_.end() && kept < kGrammarsMax && bytes + entry->bytes <= kBytesMax; ++entry, ++kept) {
    bytes += entry->bytes;
  }
  entries_.erase(entry, entries_.end());
  return Constraint{.grammar = std::move(grammar), .tokens = std::move(tokens)};
}

}  // namespace barn::grammar
