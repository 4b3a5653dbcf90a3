// libFuzzer: any bytes as a GBNF grammar ("g" first) or a JSON schema; what compiles answers with random tokens.
// Seeds: the grammars and schemas of ../shared/oracles/http.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/tokenizer.h"

namespace {

using namespace barn::grammar;

std::shared_ptr<const TokenTrie> MakeTrie() {
  barn::Vocabulary vocabulary;
  vocabulary.model = "llama";
  for (const char* piece :
       {"</s>", "\"", "{\"", "\": ", "\",", "a", "bc", "0", "12", "[", "]", "}", ",", "\\u00", "true", "\xC3"}) {
    vocabulary.tokens.push_back(piece);
    vocabulary.types.push_back(barn::TokenType::kUserDefined);
    vocabulary.scores.push_back(0);
  }
  vocabulary.types[0] = barn::TokenType::kControl;
  vocabulary.end_of_generation = {0};
  const auto tokenizer = barn::Tokenizer::Create(std::move(vocabulary));
  return std::make_shared<const TokenTrie>(*TokenTrie::Create(**tokenizer));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const TokenTrie> trie = MakeTrie();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Source source = text[0] == 'g' ? Source{.gbnf = std::string(text.substr(1))} : JsonSchemaSource(text);
  const auto grammar = Grammar::Compile(source);
  if (!grammar.ok()) return 0;
  Matcher matcher = Matchers::Create()->Start({.grammar = *grammar, .tokens = trie});
  uint64_t random = size;
  for (int i = 0; i < 40 && !matcher.ended(); ++i) {
    const auto mask = matcher.Mask();
    if (!mask.ok()) return 0;  // Too ambiguous, or this small vocabulary has no word for it.
    random = random * 6364136223846793005u + 1442695040888963407u;
    int64_t skip = static_cast<int64_t>(random >> 33) % (*mask)->allowed();
    int32_t id = 0;
    while (!(*mask)->Allows(id) || skip-- > 0) ++id;
    // What a mask allows is always accepted.
    if (!matcher.Accept(id).ok()) __builtin_trap();
  }
  return 0;
}
