#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/grammar/program.h"
#include "coordinator/text/grammar/token_mask.h"
#include "coordinator/text/grammar/token_trie.h"

namespace barn::grammar {

inline constexpr int kStackMax = 512;  // Calls inside of calls; what would nest deeper is not allowed.
// What one mask or one token may cost, in visits of token bytes; other work counts more. Some 50 ms.
inline constexpr int64_t kWorkMax = 8'000'000;

// Runs a grammar. The state after some bytes is a set of stacks; states get numbers when they are first met, and what
// follows from a state (the next ones, the mask) is kept, so that all sequences under the grammar share it. One thread.
class Automaton {
 public:
  using State = int32_t;
  static constexpr State kDead = 0;  // No text of the grammar begins like this.

  // Keeps both.
  Automaton(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens);

  State start() const { return start_; }
  // The state after one more byte or token; kDead is never left. InvalidArgument: the grammar is so ambiguous that
  // this takes more than kWorkMax.
  absl::StatusOr<State> AfterByte(State state, uint8_t byte);
  absl::StatusOr<State> AfterToken(State state, int32_t token);
  // The text is complete and `token` is one that ends an answer.
  bool Ends(State state, int32_t token) const;
  // The text so far is complete; maybe it can go on all the same.
  bool CanEnd(State state) const { return states_[state].accepting; }
  bool CanGoOn(State state) const { return !states_[state].threads.empty(); }
  // The tokens that may follow, ending ones among them where the text is complete. Errors as AfterByte.
  absl::StatusOr<std::shared_ptr<const TokenMask>> Mask(State state);

  int64_t memory_bytes() const { return memory_bytes_; }
  // Forgets all states but start(): numbers from before are void. The next generation().
  void Reset();
  int64_t generation() const { return generation_; }

 private:
  // A stack as a list: `position` on top of `parent`. For a frame of a counted loop, `count` rounds are complete.
  struct Frame {
    int32_t position = 0;
    int32_t count = 0;
    int32_t parent = kBottom;
    friend bool operator==(const Frame&, const Frame&) = default;
    template <class H>
    friend H AbslHashValue(H hash, const Frame& frame) {
      return H::combine(std::move(hash), frame.position, frame.count, frame.parent);
    }
  };
  // What a state allows of itself, whatever it returns to.
  struct LocalMask {
    std::vector<uint64_t> words;   // Used if many are allowed,
    std::vector<int32_t> few;      // else this list.
    std::vector<int32_t> left_at;  // Trie nodes after whose byte the rule may have returned.
    void AddTo(std::vector<uint64_t>& mask) const;
  };
  struct StateAt {
    std::vector<int32_t> threads;  // Frames whose positions consume something, ascending.
    bool accepting = false;
    int32_t row = -1;  // Of transitions_; -1: none yet.
    std::shared_ptr<const TokenMask> mask;
    std::unique_ptr<const LocalMask> local;
  };

  static constexpr int32_t kBottom = -1;
  static constexpr State kUnknown = -1;

  int32_t Intern(Frame frame);
  State InternState(bool accepting, std::vector<int32_t> threads);
  // Adds the threads that stand at `position` over `parent` to the state that is being made.
  void Expand(int32_t position, int32_t parent);
  void EndRound(int32_t position, int32_t frame);
  State FinishState();
  State Next(State state, uint8_t byte) {
    if (states_[state].row >= 0) {
      const State known = transitions_[states_[state].row + program_.byte_class[byte]];
      if (known != kUnknown) return known;
    }
    return ComputeNext(state, byte);
  }
  State ComputeNext(State state, uint8_t byte);
  State StateOf(int32_t position, int32_t parent);
  // The tokens below `node` (-1: all) that `state` takes, to `take`; nodes where it accepts, to `accepts`.
  template <class Accepts>
  void Walk(State state, int32_t node, std::vector<uint64_t>& mask, const Accepts& accepts);
  const LocalMask& Local(State state);
  // The thread cut off below its rule's own frames, and the frame it returns to (kBottom: none).
  std::pair<State, int32_t> Cut(int32_t thread);
  bool Spend(int64_t work) { return (work_left_ -= work) >= 0; }
  absl::Status WorkStatus() const;

  const std::shared_ptr<const Grammar> grammar_;
  const std::shared_ptr<const TokenTrie> tokens_;
  const Program& program_;
  std::vector<Frame> frames_;
  std::vector<int16_t> depths_;  // Of frames.
  absl::flat_hash_map<Frame, int32_t> frame_ids_;
  std::vector<StateAt> states_;
  absl::flat_hash_map<std::vector<int32_t>, State> state_ids_;  // By threads, and -1 in front where it accepts.
  std::vector<State> transitions_;                              // Rows of one entry for each byte class.
  std::vector<State> walk_states_;                              // By depth in the trie.
  // The state that is being made.
  std::vector<std::pair<int32_t, int32_t>> todo_;  // (position, parent)
  absl::flat_hash_set<std::pair<int32_t, int32_t>> seen_;
  std::vector<int32_t> new_threads_;
  bool new_accepting_ = false;
  State start_ = kDead;
  int64_t work_left_ = 0;
  int64_t memory_bytes_ = 0;
  int64_t generation_ = 0;
};

}  // namespace barn::grammar
