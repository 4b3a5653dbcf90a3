// What a mask costs with the 128,256 tokens of Llama 3. `Seen`: the state was met before, which is nearly every token
// of every answer after a schema's first. `NewField`: a state that is new, in a rule that was met before (a string in
// another place). `First`: nothing is known yet.
#include <benchmark/benchmark.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/text/grammar/automaton.h"
#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/tokenizer.h"
#include "sharding/gguf.h"

namespace barn::grammar {
namespace {

const std::shared_ptr<const TokenTrie>& Trie() {
  static const std::shared_ptr<const TokenTrie> trie = [] {
    const auto model =
        GgufModel::Open(std::string(BARN_SOURCE_DIR) + "/../shared/oracles/tokenizers/ggml-vocab-llama-bpe.gguf");
    const auto tokenizer = Tokenizer::Create(*ReadVocabulary((*model)->metadata()));
    return std::make_shared<const TokenTrie>(*TokenTrie::Create(**tokenizer));
  }();
  return trie;
}

constexpr int kFields = 40;

// Many fields with a string each.
std::shared_ptr<const Grammar> People() {
  std::string properties, required;
  for (int i = 0; i < kFields; ++i) {
    absl::StrAppend(&properties, i > 0 ? "," : "", "\"field", i, "\":{\"type\":\"", i % 4 == 3 ? "integer" : "string",
                    "\"}");
    absl::StrAppend(&required, i > 0 ? "," : "", "\"field", i, "\"");
  }
  return *Grammar::Compile(
      JsonSchemaSource(absl::StrCat("{\"type\":\"object\",\"properties\":{", properties, "},\"required\":[", required,
                                    "],\"additionalProperties\":false}")));
}

Automaton::State After(Automaton& automaton, std::string_view text) {
  Automaton::State state = automaton.start();
  for (const char byte : text) state = *automaton.AfterByte(state, static_cast<uint8_t>(byte));
  return state;
}

// An answer up to the inside of the string of field `i`.
std::string UpTo(int i) {
  std::string text = "{";
  for (int k = 0; k <= i; ++k) {
    if (k % 4 == 3)
      absl::StrAppend(&text, "\"field", k, "\": 17, ");
    else
      absl::StrAppend(&text, "\"field", k, "\": \"some words", k < i ? "\", " : "");
  }
  return text;
}

void Seen(benchmark::State& bench) {
  Automaton automaton(People(), Trie());
  std::vector<Automaton::State> states;
  Automaton::State state = automaton.start();
  const std::string text = UpTo(kFields - 2);
  for (const char byte : text) states.push_back(state = *automaton.AfterByte(state, static_cast<uint8_t>(byte)));
  for (const Automaton::State one : states) benchmark::DoNotOptimize(automaton.Mask(one));
  size_t i = 0;
  for (auto _ : bench) benchmark::DoNotOptimize(automaton.Mask(states[++i % states.size()]));
}
BENCHMARK(Seen);

// All masks of one answer under a grammar whose states are new, its rules known: the cost of one.
void NewState(benchmark::State& bench) {
  const std::shared_ptr<const Grammar> grammar = People();
  const std::string text = UpTo(kFields - 2);
  int64_t masks = 0;
  for (auto _ : bench) {
    bench.PauseTiming();
    Automaton automaton(grammar, Trie());
    benchmark::DoNotOptimize(automaton.Mask(After(automaton, UpTo(0))));
    benchmark::DoNotOptimize(automaton.Mask(After(automaton, UpTo(0) + "\"")));
    std::vector<Automaton::State> states;
    Automaton::State state = After(automaton, UpTo(4));
    for (const char byte : text.substr(UpTo(4).size())) {
      states.push_back(state = *automaton.AfterByte(state, static_cast<uint8_t>(byte)));
    }
    bench.ResumeTiming();
    for (const Automaton::State one : states) benchmark::DoNotOptimize(automaton.Mask(one));
    masks += static_cast<int64_t>(states.size());
  }
  bench.counters["per_mask"] =
      benchmark::Counter(static_cast<double>(masks), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(NewState)->Unit(benchmark::kMillisecond);

void First(benchmark::State& bench) {
  const std::shared_ptr<const Grammar> grammar = People();
  for (auto _ : bench) {
    bench.PauseTiming();
    Automaton automaton(grammar, Trie());
    const Automaton::State state = After(automaton, UpTo(0));
    bench.ResumeTiming();
    benchmark::DoNotOptimize(automaton.Mask(state));
  }
}
BENCHMARK(First)->Unit(benchmark::kMicrosecond);

void CompileSchema(benchmark::State& bench) {
  for (auto _ : bench) benchmark::DoNotOptimize(People());
}
BENCHMARK(CompileSchema)->Unit(benchmark::kMicrosecond);

// A step of an answer whose state is known: a token taken, the mask after it.
void Token(benchmark::State& bench) {
  Automaton automaton(*Grammar::Compile(JsonObjectSource()), Trie());
  const Automaton::State state = After(automaton, "{\"a\": \"some words");
  for (auto _ : bench) {
    const Automaton::State next = *automaton.AfterToken(state, 1917);
    benchmark::DoNotOptimize(automaton.Mask(next));
  }
}
BENCHMARK(Token);

void MakeTrie(benchmark::State& bench) {
  const auto model =
      GgufModel::Open(std::string(BARN_SOURCE_DIR) + "/../shared/oracles/tokenizers/ggml-vocab-llama-bpe.gguf");
  const auto tokenizer = Tokenizer::Create(*ReadVocabulary((*model)->metadata()));
  for (auto _ : bench) benchmark::DoNotOptimize(TokenTrie::Create(**tokenizer));
}
BENCHMARK(MakeTrie)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace barn::grammar

BENCHMARK_MAIN();
