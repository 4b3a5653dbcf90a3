#include "coordinator/text/grammar/automaton.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

constexpr int64_t kExpandWork = 8;      // One position of a state that is made.
constexpr size_t kThreadsApartMax = 8;  // States of more threads are walked as a whole.
constexpr int64_t kFewMax = 512;        // Tokens that a LocalMask lists.
constexpr int64_t kFrameBytes = 40, kStateBytes = 160;

void Set(std::vector<uint64_t>& words, int32_t id) { words[id / 64] |= uint64_t{1} << (id % 64); }

}  // namespace

Automaton::Automaton(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens)
    : grammar_(std::move(grammar)), tokens_(std::move(tokens)), program_(grammar_->program()) {
  walk_states_.resize(tokens_->depth_max() + 1);
  Reset();
}

void Automaton::Reset() {
  frames_.clear();
  depths_.clear();
  frame_ids_.clear();
  states_.clear();
  state_ids_.clear();
  transitions_.clear();
  memory_bytes_ = 0;
  ++generation_;
  InternState(false, {});  // kDead.
  work_left_ = kWorkMax;
  start_ = StateOf(program_.start, kBottom);
}

int32_t Automaton::Intern(Frame frame) {
  const auto [found, added] = frame_ids_.try_emplace(frame, static_cast<int32_t>(frames_.size()));
  if (added) {
    frames_.push_back(frame);
    depths_.push_back(frame.parent == kBottom ? 1 : static_cast<int16_t>(depths_[frame.parent] + 1));
    memory_bytes_ += kFrameBytes;
  }
  return found->second;
}

Automaton::State Automaton::InternState(bool accepting, std::vector<int32_t> threads) {
  std::vector<int32_t> key = threads;
  if (accepting) key.insert(key.begin(), -1);
  const auto [found, added] = state_ids_.try_emplace(std::move(key), static_cast<State>(states_.size()));
  if (added) {
    memory_bytes_ += kStateBytes + static_cast<int64_t>(threads.size()) * 8;
    states_.push_back(
        {.threads = std::move(threads), .accepting = accepting, .row = -1, .mask = nullptr, .local = nullptr});
  }
  return found->second;
}

void Automaton::EndRound(int32_t position, int32_t frame) {
  const Program::Loop& loop = program_.loops[program_.positions[position].a];
  const Frame top = frames_[frame];
  const int32_t count = top.count + 1;
  if (count >= loop.min) todo_.emplace_back(loop.after, top.parent);
  if (loop.max == kUnbounded) {
    todo_.emplace_back(loop.body, Intern({position, std::min(count, loop.min), top.parent}));
  } else if (count < loop.max) {
    todo_.emplace_back(loop.body, Intern({position, count, top.parent}));
  }
}

void Automaton::Expand(int32_t first_position, int32_t first_parent) {
  todo_.emplace_back(first_position, first_parent);
  while (!todo_.empty()) {
    const auto [position, parent] = todo_.back();
    todo_.pop_back();
    if (!Spend(kExpandWork) || !seen_.insert({position, parent}).second) continue;
    const Program::Position& at = program_.positions[position];
    const bool full = parent != kBottom && depths_[parent] >= kStackMax;
    switch (at.op) {
      case Program::Op::kBytes:
      case Program::Op::kToken:
        if (at.op == Program::Op::kToken || at.a < at.b) new_threads_.push_back(Intern({position, 0, parent}));
        break;
      case Program::Op::kSplit:
        Spend(at.b - at.a);
        for (int32_t i = at.a; i < at.b; ++i) todo_.emplace_back(program_.targets[i], parent);
        break;
      case Program::Op::kCall:
        if (program_.positions[at.b].op == Program::Op::kReturn) {
          todo_.emplace_back(at.a, parent);  // Nothing is left to do after the call.
        } else if (!full) {
          todo_.emplace_back(at.a, Intern({at.b, 0, parent}));
        }
        break;
      case Program::Op::kReturn:
        if (parent == kBottom) {
          new_accepting_ = true;
        } else {
          todo_.emplace_back(frames_[parent].position, frames_[parent].parent);
        }
        break;
      case Program::Op::kEnter:
        if (!full) todo_.emplace_back(program_.loops[program_.positions[at.a].a].body, Intern({at.a, 0, parent}));
        break;
      case Program::Op::kLoop:
        EndRound(position, parent);
        break;
    }
  }
}

Automaton::State Automaton::FinishState() {
  seen_.clear();
  if (work_left_ < 0) {
    new_threads_.clear();
    new_accepting_ = false;
    return kDead;
  }
  std::sort(new_threads_.begin(), new_threads_.end());
  new_threads_.erase(std::unique(new_threads_.begin(), new_threads_.end()), new_threads_.end());
  const State state = InternState(new_accepting_, new_threads_);
  new_threads_.clear();
  new_accepting_ = false;
  return state;
}

Automaton::State Automaton::StateOf(int32_t position, int32_t parent) {
  Expand(position, parent);
  return FinishState();
}

Automaton::State Automaton::ComputeNext(State state, uint8_t byte) {
  if (states_[state].row < 0) {
    states_[state].row = static_cast<int32_t>(transitions_.size());
    transitions_.resize(transitions_.size() + program_.byte_classes, kUnknown);
    memory_bytes_ += int64_t{4} * program_.byte_classes;
    Spend(program_.byte_classes);
  }
  for (const int32_t thread : states_[state].threads) {
    const Frame frame = frames_[thread];
    const Program::Position& at = program_.positions[frame.position];
    if (at.op != Program::Op::kBytes) continue;
    if (!Spend(1 + (at.b - at.a) / 4)) break;
    for (int32_t i = at.a; i < at.b; ++i) {
      const Program::Edge& edge = program_.edges[i];
      if (byte >= edge.low && byte <= edge.high) Expand(edge.next, frame.parent);
    }
  }
  const State next = FinishState();
  if (work_left_ >= 0) transitions_[states_[state].row + program_.byte_class[byte]] = next;
  return next;
}

absl::Status Automaton::WorkStatus() const {
  if (work_left_ >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the grammar is too ambiguous: the ways to go on from here are too many to follow at once");
}

absl::StatusOr<Automaton::State> Automaton::AfterByte(State state, uint8_t byte) {
  work_left_ = kWorkMax;
  const State next = Next(state, byte);
  BARN_RETURN_IF_ERROR(WorkStatus());
  return next;
}

absl::StatusOr<Automaton::State> Automaton::AfterToken(State state, int32_t token) {
  work_left_ = kWorkMax;
  State next = state;
  const std::string_view bytes = token < tokens_->vocabulary() ? tokens_->bytes(token) : std::string_view();
  for (const char byte : bytes) next = Next(next, static_cast<uint8_t>(byte));
  if (bytes.empty()) next = kDead;
  bool named = false;
  for (const int32_t thread : states_[state].threads) {
    const Frame frame = frames_[thread];
    const Program::Position& at = program_.positions[frame.position];
    if (at.op != Program::Op::kToken || at.a != token) continue;
    named = true;
    Expand(at.b, frame.parent);
  }
  if (named) {
    new_threads_.insert(new_threads_.end(), states_[next].threads.begin(), states_[next].threads.end());
    new_accepting_ = new_accepting_ || states_[next].accepting;
    next = FinishState();
  }
  BARN_RETURN_IF_ERROR(WorkStatus());
  return next;
}

bool Automaton::Ends(State state, int32_t token) const {
  const std::vector<int32_t>& ends = tokens_->end_tokens();
  return states_[state].accepting && std::binary_search(ends.begin(), ends.end(), token);
}

template <class Accepts>
void Automaton::Walk(State state, int32_t node, std::vector<uint64_t>& mask, const Accepts& accepts) {
  const TokenTrie& trie = *tokens_;
  const int32_t end = node < 0 ? trie.size() : trie.node(node).end;
  walk_states_[node < 0 ? 0 : trie.node(node).depth] = state;
  int32_t at = node + 1;
  int64_t visits = 0;
  while (at < end) {
    const TokenTrie::NodeAt& one = trie.node(at);
    const State next = Next(walk_states_[one.depth - 1], one.byte);
    if (++visits % 1024 == 0 && !Spend(1024)) return;
    if (next == kDead) {
      at = one.end;
      continue;
    }
    walk_states_[one.depth] = next;
    for (int32_t i = one.tokens; i < trie.node(at + 1).tokens; ++i) Set(mask, trie.token(i));
    if (states_[next].accepting) accepts(at);
    ++at;
  }
  Spend(visits % 1024);
}

void Automaton::LocalMask::AddTo(std::vector<uint64_t>& mask) const {
  for (size_t i = 0; i < words.size(); ++i) mask[i] |= words[i];
  for (const int32_t id : few) Set(mask, id);
}

const Automaton::LocalMask& Automaton::Local(State state) {
  if (states_[state].local != nullptr) return *states_[state].local;
  auto local = std::make_unique<LocalMask>();
  std::vector<uint64_t> words((tokens_->vocabulary() + 63) / 64, 0);
  Walk(state, -1, words, [&](int32_t node) {
    if (tokens_->node(node).end > node + 1) local->left_at.push_back(node);
  });
  static const LocalMask kNothing;
  if (work_left_ < 0) return kNothing;  // It is not whole.
  int64_t count = 0;
  for (const uint64_t word : words) count += std::popcount(word);
  if (count > kFewMax) {
    local->words = std::move(words);
  } else {
    for (size_t i = 0; i < words.size(); ++i) {
      for (uint64_t word = words[i]; word != 0; word &= word - 1) {
        local->few.push_back(static_cast<int32_t>(i * 64 + std::countr_zero(word)));
      }
    }
  }
  memory_bytes_ += static_cast<int64_t>(sizeof(LocalMask) + local->words.size() * 8 + local->few.size() * 4 +
                                        local->left_at.size() * 4);
  states_[state].local = std::move(local);
  return *states_[state].local;
}

std::pair<Automaton::State, int32_t> Automaton::Cut(int32_t thread) {
  std::vector<Frame> own = {frames_[thread]};
  while (own.back().parent != kBottom &&
         program_.positions[frames_[own.back().parent].position].op == Program::Op::kLoop) {
    own.push_back(frames_[own.back().parent]);
  }
  const int32_t below = own.back().parent;
  int32_t parent = kBottom;
  for (size_t i = own.size(); i-- > 0;) parent = Intern({own[i].position, own[i].count, parent});
  return {InternState(false, {parent}), below};
}

absl::StatusOr<std::shared_ptr<const TokenMask>> Automaton::Mask(State state) {
  if (states_[state].mask != nullptr) return states_[state].mask;
  work_left_ = kWorkMax;
  std::vector<uint64_t> words((tokens_->vocabulary() + 63) / 64, 0);
  const std::vector<int32_t> threads = states_[state].threads;
  if (threads.size() > kThreadsApartMax) {
    Walk(state, -1, words, [](int32_t) {});
  }
  for (const int32_t thread : threads) {
    const Program::Position at = program_.positions[frames_[thread].position];
    if (at.op == Program::Op::kToken) {
      if (at.a < tokens_->vocabulary()) Set(words, at.a);
    } else if (threads.size() <= kThreadsApartMax) {
      const auto [own, below] = Cut(thread);
      const LocalMask& local = Local(own);
      local.AddTo(words);
      if (below == kBottom || local.left_at.empty()) continue;
      const State after = StateOf(frames_[below].position, frames_[below].parent);
      for (const int32_t node : local.left_at) Walk(after, node, words, [](int32_t) {});
    }
  }
  BARN_RETURN_IF_ERROR(WorkStatus());
  if (states_[state].accepting) {
    for (const int32_t id : tokens_->end_tokens()) Set(words, id);
  }
  auto mask = std::make_shared<const TokenMask>(words, tokens_->vocabulary());
  memory_bytes_ += mask->memory_bytes();
  states_[state].mask = mask;
  return mask;
}

}  // namespace barn::grammar
