#include "coordinator/text/vocabulary.h"

#include <gtest/gtest.h>

#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

using Texts = std::vector<std::string>;

GgufMetadata SmallSpm() {
  GgufMetadata m;
  m.Set("tokenizer.ggml.model", std::string("llama"));
  m.Set("tokenizer.ggml.tokens", Texts{"<unk>", "<s>", "</s>", "a"});
  m.Set("tokenizer.ggml.scores", std::vector<double>{0, 0, 0, -1});
  m.Set("tokenizer.ggml.token_type", std::vector<int64_t>{2, 3, 3, 1});
  return m;
}

void ExpectRefused(const GgufMetadata& metadata, const std::string& word) {
  const auto vocabulary = ReadVocabulary(metadata);
  EXPECT_EQ(vocabulary.status().code(), absl::StatusCode::kInvalidArgument) << word;
  EXPECT_NE(vocabulary.status().message().find(word), std::string::npos) << vocabulary.status();
}

TEST(ReadVocabulary, SpmDefaults) {
  const auto v = ReadVocabulary(SmallSpm());
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->id_count, 4);
  EXPECT_EQ(v->unk, 0);
  EXPECT_EQ(v->bos, 1);
  EXPECT_EQ(v->eos, 2);
  EXPECT_EQ(v->eot, -1);
  EXPECT_TRUE(v->add_bos);
  EXPECT_FALSE(v->add_eos);
  EXPECT_TRUE(v->add_space_prefix);
  EXPECT_EQ(v->end_of_generation, (std::set<int32_t>{2}));
}

TEST(ReadVocabulary, TheFileHasTheLastWord) {
  GgufMetadata m = SmallSpm();
  m.Set("tokenizer.ggml.bos_token_id", uint64_t{2});
  m.Set("tokenizer.ggml.eos_token_id", uint64_t{3});
  m.Set("tokenizer.ggml.padding_token_id", uint64_t{0xFFFFFFFF});
  m.Set("tokenizer.ggml.add_bos_token", false);
  m.Set("tokenizer.ggml.add_eos_token", true);
  m.Set("tokenizer.ggml.add_space_prefix", false);
  m.Set("tokenizer.chat_template", std::string("{{ x }}"));
  const auto v = ReadVocabulary(m);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->bos, 2);
  EXPECT_EQ(v->eos, 3);
  EXPECT_EQ(v->pad, -1);
  EXPECT_FALSE(v->add_bos);
  EXPECT_TRUE(v->add_eos);
  EXPECT_FALSE(v->add_space_prefix);
  EXPECT_EQ(v->chat_template, "{{ x }}");
}

TEST(ReadVocabulary, BpeDefaultsComeFromTheFamily) {
  GgufMetadata m;
  m.Set("tokenizer.ggml.model", std::string("gpt2"));
  m.Set("tokenizer.ggml.tokens", Texts{"a", "b"});
  m.Set("tokenizer.ggml.bos_token_id", uint64_t{0});
  const auto unnamed = ReadVocabulary(m);
  ASSERT_TRUE(unnamed.ok()) << unnamed.status();
  EXPECT_EQ(unnamed->pre, "default");
  EXPECT_FALSE(unnamed->add_bos);
  EXPECT_FALSE(unnamed->add_space_prefix);
  EXPECT_EQ(unnamed->eos, -1);
  m.Set("tokenizer.ggml.pre", std::string("llama-bpe"));
  EXPECT_TRUE(ReadVocabulary(m)->add_bos);
  m.Set("tokenizer.ggml.pre", std::string("no-such"));
  ExpectRefused(m, "\"no-such\"");
}

TEST(ReadVocabulary, NoneHasASizeOnly) {
  GgufMetadata m;
  m.Set("general.architecture", std::string("qwen3moe"));
  m.Set("tokenizer.ggml.model", std::string("none"));
  m.Set("qwen3moe.vocab_size", uint64_t{32000});
  const auto v = ReadVocabulary(m);
  ASSERT_TRUE(v.ok());
  EXPECT_EQ(v->id_count, 32000);
  EXPECT_TRUE(v->tokens.empty());
}

TEST(ReadVocabulary, RefusesContradictions) {
  GgufMetadata m = SmallSpm();
  m.Set("tokenizer.ggml.model", std::string("rwkv"));
  ExpectRefused(m, "\"rwkv\"");
  m = SmallSpm();
  m.Set("tokenizer.ggml.tokens", Texts{});
  ExpectRefused(m, "tokenizer.ggml.tokens");
  m = SmallSpm();
  m.Set("tokenizer.ggml.scores", std::vector<double>{0});
  ExpectRefused(m, "scores has 1 entries");
  m = SmallSpm();
  m.Set("tokenizer.ggml.token_type", std::vector<int64_t>{1, 1, 1, 1, 1});
  ExpectRefused(m, "token_type has 5 entries");
  m = SmallSpm();
  m.Set("tokenizer.ggml.eos_token_id", uint64_t{4});
  ExpectRefused(m, "eos_token_id is 4");
  m = SmallSpm();
  m.Set("tokenizer.ggml.bos_token_id", int64_t{-7});
  ExpectRefused(m, "bos_token_id is -7");
  m = SmallSpm();
  m.Set("tokenizer.ggml.tokens", Texts{"<unk>", "<s>", "</s>", std::string(5000, 'a')});
  ExpectRefused(m, "tokens[3] has 5000 bytes");
}

TEST(ReadVocabulary, KnowsWhereRealModelsEnd) {
  const auto qwen = LoadVocabulary(VocabularyPath("qwen2"));
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_TRUE(qwen->end_of_generation.contains(151643));  // <|endoftext|>
  EXPECT_TRUE(qwen->end_of_generation.contains(151645));  // <|im_end|>
  EXPECT_FALSE(qwen->chat_template.empty());
  const auto llama = LoadVocabulary(VocabularyPath("llama-bpe"));
  ASSERT_TRUE(llama.ok());
  EXPECT_TRUE(llama->end_of_generation.contains(128009));  // <|eot_id|>
  EXPECT_TRUE(llama->add_bos);                             // The file does not say; its family does.
  const auto phi = LoadVocabulary(VocabularyPath("phi-3"));
  ASSERT_TRUE(phi.ok());
  EXPECT_TRUE(phi->end_of_generation.contains(32007));  // <|end|>
}

}  // namespace
}  // namespace barn
