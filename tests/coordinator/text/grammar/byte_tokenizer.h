#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/grammar/automaton.h"
#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/grammar/token_trie.h"
#include "gtest/gtest.h"
#include "tests/coordinator/text/oracle.h"

namespace barn::grammar {

inline std::shared_ptr<const TokenTrie> TrieOf(const Tokenizer& tokenizer) {
  auto trie = TokenTrie::Create(tokenizer);
  EXPECT_TRUE(trie.ok()) << trie.status();
  return std::make_shared<const TokenTrie>(*std::move(trie));
}

// A vocabulary of the 256 bytes (ids 3 to 258, </s> is 2) and some pieces.
inline std::shared_ptr<const TokenTrie> SmallTrie(const std::vector<std::string>& pieces = {}) {
  Vocabulary vocabulary = SmallSpmVocabulary(pieces);
  vocabulary.end_of_generation = {2};
  auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return TrieOf(**tokenizer);
}

// What a grammar says of a text.
enum class Verdict { kComplete, kPrefix, kRefused };

inline Verdict Judge(Automaton& automaton, std::string_view text) {
  Automaton::State state = automaton.start();
  for (const char byte : text) {
    const auto next = automaton.AfterByte(state, static_cast<uint8_t>(byte));
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok() || *next == Automaton::kDead) return Verdict::kRefused;
    state = *next;
  }
  return automaton.CanEnd(state) ? Verdict::kComplete : Verdict::kPrefix;
}

}  // namespace barn::grammar
