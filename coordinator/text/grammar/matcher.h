#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/automaton.h"

namespace barn::grammar {

// What constrains an answer: a grammar over the tokens of a model.
struct Constraint {
  std::shared_ptr<const Grammar> grammar;  // Null: the answer is free.
  std::shared_ptr<const TokenTrie> tokens;

  explicit operator bool() const { return grammar != nullptr; }
};

class Matchers;

// Where one answer stands in its grammar. A copy goes its own way, for drafts. One thread, that of its Matchers.
class Matcher {
 public:
  // The tokens that may come next: never none unless ended(). InvalidArgument: the grammar is too ambiguous, or no
  // token of the vocabulary goes on.
  absl::StatusOr<std::shared_ptr<const TokenMask>> Mask();

  // Takes the next token. InvalidArgument: it is not allowed here, or as Mask().
  absl::Status Accept(int32_t token);

  // Nothing can follow: the text is complete and cannot go on, or an ending token was taken.
  bool ended() const { return ended_; }
  bool CanEnd();

 private:
  friend class Matchers;
  Matcher(std::shared_ptr<Matchers> all, std::shared_ptr<Automaton> automaton);

  // Makes state_ one of the automaton's present generation.
  absl::Status Sync();

  std::shared_ptr<Matchers> all_;
  std::shared_ptr<Automaton> automaton_;
  std::vector<int32_t> taken_;
  Automaton::State state_;
  int64_t generation_;
  bool ended_ = false;
};

// Makes matchers. Those of one grammar share their states and masks, within a bound on the memory of all of them.
class Matchers : public std::enable_shared_from_this<Matchers> {
 public:
  struct Limits {
    int64_t bytes_max = int64_t{256} << 20;  // Of all states and masks.
    size_t idle_max = 32;                    // Grammars that no answer uses now.
  };

  static std::shared_ptr<Matchers> Create() { return Create(Limits()); }
  static std::shared_ptr<Matchers> Create(Limits limits) { return std::shared_ptr<Matchers>(new Matchers(limits)); }

  Matcher Start(const Constraint& constraint);
  int64_t memory_bytes() const;

 private:
  friend class Matcher;
  struct Entry {
    std::weak_ptr<const Grammar> grammar;
    std::shared_ptr<Automaton> automaton;
  };

  explicit Matchers(Limits limits) : limits_(limits) {}
  // Forgets what is idle, then what is large, until the rest is within the bounds.
  void MakeRoom();

  const Limits limits_;
  std::vector<Entry> entries_;  // Most recent first.
};

}  // namespace barn::grammar
