#include "coordinator/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain = {.add_special = false, .parse_special = false};

// Appends a character that every vocabulary has bytes for: no control characters, no surrogates.
void AppendCharacter(uint32_t code, std::string& text) {
  if (code < 0x20 || code == 0x7F || (code >= 0xD800 && code < 0xE000)) code = code & 1 ? '\n' : ' ';
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3F))); };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xC0 | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | (code >> 12)));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | (code >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

class OracleTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    tokenizer_ = LoadTokenizer(VocabularyPath(GetParam()));
    ASSERT_NE(tokenizer_, nullptr);
  }
  Ids Encode(std::string_view text, EncodeOptions options) {
    auto ids = tokenizer_->Encode(text, options);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.ok() ? *ids : Ids{-1};
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(OracleTest, PairsHold) {
  std::vector<std::string> texts =
      absl::StrSplit(ReadFileOrDie(VocabularyPath(GetParam()) + ".inp"), "\n__ggml_vocab_test__\n");
  ASSERT_TRUE(texts.back().empty());
  texts.pop_back();
  const std::vector<std::string> lines = absl::StrSplit(ReadFileOrDie(VocabularyPath(GetParam()) + ".out"), '\n');
  ASSERT_EQ(texts.size(), 46u);
  ASSERT_GE(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    Ids expected;
    for (absl::string_view number : absl::StrSplit(lines[i], ' ', absl::SkipEmpty())) {
      ASSERT_TRUE(absl::SimpleAtoi(number, &expected.emplace_back())) << lines[i];
    }
    EXPECT_EQ(Encode(texts[i], kPlain), expected) << "case " << i << ": " << absl::CEscape(texts[i]);
  }
}

TEST_P(OracleTest, ExtraTextsHold) {
  const auto oracle =
      nlohmann::json::parse(ReadFileOrDie(OraclePath("oracles/tokenizers/vectors.json"))).at(GetParam());
  EXPECT_EQ(tokenizer_->size(), oracle.at("n_vocab"));
  EXPECT_EQ(tokenizer_->vocabulary().bos, oracle.at("bos"));
  EXPECT_EQ(tokenizer_->vocabulary().eos, oracle.at("eos"));
  EXPECT_EQ(tokenizer_->vocabulary().add_bos, oracle.at("add_bos"));
  EXPECT_EQ(tokenizer_->vocabulary().add_eos, oracle.at("add_eos"));
  ASSERT_EQ(oracle.at("extra").size(), 16u);
  for (const auto& e : oracle.at("extra")) {
    const std::string text = absl::HexStringToBytes(e.at("utf8_hex").get<std::string>());
    SCOPED_TRACE(absl::CEscape(text));
    const Ids plain = e.at("plain").get<Ids>();
    EXPECT_EQ(Encode(text, kPlain), plain);
    EXPECT_EQ(Encode(text, {.add_special = false, .parse_special = true}), e.at("parse_special").get<Ids>());
    EXPECT_EQ(Encode(text, {.add_special = true, .parse_special = true}), e.at("add_special_parse_special").get<Ids>());
    EXPECT_EQ(absl::BytesToHexString(tokenizer_->Decode(plain)), e.at("detokenize_plain_utf8_hex"));
  }
}

// Text is never lost: not in any script, and not when it is no text at all (some vocabularies lack bytes, and say so).
TEST_P(OracleTest, TextRoundTrips) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    const int plane_bits = 7 + round % 11;  // ASCII only, up to the first two planes.
    for (int i = 0; i < 40; ++i) AppendCharacter(random() & ((1u << plane_bits) - 1), text);
    EXPECT_EQ(tokenizer_->Decode(Encode(text, kPlain)), text) << absl::CHexEscape(text);
  }
}

TEST_P(OracleTest, BytesRoundTripOrAreRefused) {
  std::mt19937 random(2);
  int encoded = 0;
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 1 + round % 40; ++i) text.push_back(static_cast<char>(random()));
    const auto ids = tokenizer_->Encode(text, kPlain);
    encoded += ids.ok();
    if (ids.ok()) {
      EXPECT_EQ(tokenizer_->Decode(*ids), text) << absl::CHexEscape(text);
    } else {
      EXPECT_NE(ids.status().message().find("no token for byte 0x"), std::string::npos) << ids.status();
    }
  }
  const bool has_all_bytes = GetParam() != "falcon" && GetParam() != "deepseek-llm";
  EXPECT_EQ(encoded == 500, has_all_bytes) << encoded;
}

// A megabyte of prose takes 0.1 s in a release build, of the worst text about 1 s. The bound leaves room for sanitizers
// and a busy machine; a step that is quadratic in the text would take minutes.
TEST_P(OracleTest, HostileTextTakesBoundedTime) {
  constexpr size_t kBytes = 1 << 18;
  std::map<std::string, std::string> texts = {{"prose", ReadFileOrDie(OraclePath("oracles/text/wiki.test.head.txt"))}};
  for (const std::string unit :
       {"a", " ", "A", "\n", "\t", "1", "!", " \n", "\t ", "aB", "Ba", "\xE4\xB8\xAD", "'", "\xC2"}) {
    std::string& text = texts[unit + "x"];
    while (text.size() < kBytes) text += unit;
    text += "x";
  }
  for (const auto& [name, text] : texts) {
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer_->Encode(text, kPlain);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(seconds, 10) << absl::CHexEscape(name);
    EXPECT_TRUE(ids.ok() || GetParam() == "falcon") << ids.status();
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, OracleTest,
                         testing::Values("llama-spm", "llama-bpe", "qwen2", "gpt-2", "phi-3", "falcon", "deepseek-llm"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{"-", "_"}});
                         });

TEST(Tokenizer, EmbeddedModelReadsItsPrompts) {
  const std::string folder = OraclePath("models/");
  const auto tokenizer = LoadTokenizer(folder + "tiny-moe-Q4_K_M.gguf");
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->size(), 4096);
  const auto reference = nlohmann::json::parse(ReadFileOrDie(folder + "reference.json"));
  int cases = 0;
  for (const char* list : {"greedy_F16", "greedy_Q4_K_M"}) {
    for (const auto& e : reference.at(list)) {
      const auto ids = tokenizer->Encode(e.at("prompt").get<std::string>());
      ASSERT_TRUE(ids.ok());
      EXPECT_EQ(*ids, e.at("token_ids").get<Ids>()) << e.at("prompt");
      const Ids answer = e.at("greedy_ids").get<Ids>();
      EXPECT_EQ(tokenizer->Decode(answer, {.special = false, .at_text_start = false}), e.at("greedy_text"));
      ++cases;
    }
  }
  EXPECT_GT(cases, 4);
}

// A vocabulary of 262,144 pieces with user-defined ones and without a space prefix. The reference parses special
// tokens.
TEST(Tokenizer, GemmaReadsItsPrompts) {
  const auto tokenizer = LoadTokenizer(BARN_TEST_GEMMA);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->size(), 262144);
  EXPECT_FALSE(tokenizer->drops_leading_space());
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(1));
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(106));
  const auto reference = nlohmann::json::parse(ReadFileOrDie(OraclePath("oracles/gemma3-270m/reference.json")));
  ASSERT_FALSE(reference.at("prompts_f32").empty());
  for (const auto& e : reference.at("prompts_f32")) {
    const std::string text = absl::HexStringToBytes(e.at("prompt_utf8_hex").get<std::string>());
    const auto ids = tokenizer->Encode(text, {.add_special = true, .parse_special = true});
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, e.at("token_ids").get<Ids>()) << absl::CEscape(text);
    EXPECT_EQ(tokenizer->Decode(*ids, {.special = true, .at_text_start = true}), "<bos>" + text);
    const std::string answer =
        tokenizer->Decode(e.at("greedy_ids").get<Ids>(), {.special = true, .at_text_start = false});
    EXPECT_EQ(absl::BytesToHexString(answer), e.at("greedy_text_utf8_hex"));
  }
}

TEST(Tokenizer, SpecialTextIsPlainTextUnlessAsked) {
  auto tokenizer = Tokenizer::Create(SmallSpmVocabulary({"\xE2\x96\x81", "s", "<s", "<s>"}));
  ASSERT_TRUE(tokenizer.ok());
  const auto parsed = (*tokenizer)->Encode("a<s>", {.add_special = false, .parse_special = true});
  EXPECT_EQ(*parsed, (Ids{3 + 'a', 1}));
  const auto plain = (*tokenizer)->Encode("</s>", {.add_special = false, .parse_special = false});
  EXPECT_EQ(*plain, (Ids{3 + '<', 3 + '/', 260, 3 + '>'}));
}

TEST(Tokenizer, SpacePrefixFollowsEveryToken) {
  Vocabulary v = SmallSpmVocabulary({"\xE2\x96\x81", "a"});
  v.add_space_prefix = true;
  v.add_bos = true;
  v.add_eos = true;
  auto tokenizer = Tokenizer::Create(v);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(*(*tokenizer)->Encode("a</s>a", {.add_special = true, .parse_special = true}),
            (Ids{1, 259, 260, 2, 259, 260, 2}));
  EXPECT_EQ(*(*tokenizer)->Encode("", {}), (Ids{1, 2}));
}

TEST(Tokenizer, DecodeDropsOneSpaceAtTheStart) {
  Vocabulary v = SmallSpmVocabulary({"\xE2\x96\x81", "a",
                                     "\xE2\x96\x81"
                                     "a"});
  v.add_space_prefix = true;
  auto tokenizer = Tokenizer::Create(v);
  ASSERT_TRUE(tokenizer.ok());
  const Ids ids = {1, 261, 261};
  EXPECT_EQ((*tokenizer)->Decode(ids), "a a");
  EXPECT_EQ((*tokenizer)->Decode(ids, {.special = false, .at_text_start = false}), " a a");
  EXPECT_EQ((*tokenizer)->Decode(ids, {.special = true, .at_text_start = true}), "<s> a a");
  EXPECT_EQ((*tokenizer)->Decode(Ids{259, 259, 260}), " a");
  EXPECT_EQ((*tokenizer)->Decode(Ids{-1, 1 << 30, 260}), "a");
}

TEST(Tokenizer, NoVocabularyHasIdsOnly) {
  Vocabulary v;
  v.model = "none";
  v.id_count = 1000;
  auto tokenizer = Tokenizer::Create(v);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->size(), 1000);
  EXPECT_FALSE((*tokenizer)->has_pieces());
  const auto ids = (*tokenizer)->Encode("a", {});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(ids.status().message().find("no vocabulary"), std::string::npos);
  EXPECT_EQ((*tokenizer)->Piece(17, false), "<17>");
  EXPECT_EQ((*tokenizer)->Decode(Ids{1, 2}), "<1><2>");
}

TEST(Tokenizer, RefusesAContradiction) {
  Vocabulary scores = SmallSpmVocabulary({"a"});
  scores.scores.pop_back();
  EXPECT_EQ(Tokenizer::Create(scores).status().code(), absl::StatusCode::kInvalidArgument);
  Vocabulary bos = SmallSpmVocabulary({"a"});
  bos.bos = 1000;
  EXPECT_EQ(Tokenizer::Create(bos).status().code(), absl::StatusCode::kInvalidArgument);
  Vocabulary model = SmallSpmVocabulary({"a"});
  model.model = "rwkv";
  EXPECT_EQ(Tokenizer::Create(model).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace barn
