#include "coordinator/text/bpe_encoder.h"

#include <gtest/gtest.h>

#include "coordinator/text/byte_alphabet.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;

// 256 bytes in order, then `pieces`.
Vocabulary Small(const std::string& pre, const std::vector<std::string>& merges,
                 const std::vector<std::string>& pieces) {
  Vocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(ByteToAlphabet(static_cast<uint8_t>(byte)));
  v.tokens.insert(v.tokens.end(), pieces.begin(), pieces.end());
  v.types.resize(v.tokens.size(), TokenType::kNormal);
  v.merges = merges;
  return v;
}

Ids Encode(const Vocabulary& v, std::string_view text) {
  auto encoder = BpeEncoder::Create(v);
  Ids ids;
  EXPECT_TRUE(encoder.ok() && (*encoder)->Append(text, &ids).ok());
  return ids;
}

TEST(BpeEncoder, MergesInOrderOfTheList) {
  const Vocabulary v = Small("gpt-2", {"b c", "a b"}, {"ab", "bc"});
  EXPECT_EQ(Encode(v, "abc"), (Ids{'a', 257}));
  EXPECT_EQ(Encode(v, "ab abab"), (Ids{256, ' ', 256, 256}));
}

TEST(BpeEncoder, TheFirstOfEqualMergesCounts) {
  const Vocabulary v = Small("gpt-2", {"a b", "b c", "a b"}, {"ab", "bc"});
  EXPECT_EQ(Encode(v, "abc"), (Ids{256, 'c'}));
}

TEST(BpeEncoder, AMergeThatIsNoTokenStaysInBytes) {
  const Vocabulary v = Small("gpt-2", {"a b", "ab c"}, {"abc"});
  EXPECT_EQ(Encode(v, "abc"), (Ids{256}));
  EXPECT_EQ(Encode(v, "abd"), (Ids{'a', 'b', 'd'}));
}

TEST(BpeEncoder, WholeWordsStayWholeWhereTheFamilySaysSo) {
  EXPECT_EQ(Encode(Small("llama-bpe", {}, {"abc"}), "abc"), (Ids{256}));
  EXPECT_EQ(Encode(Small("gpt-2", {}, {"abc"}), "abc"), (Ids{'a', 'b', 'c'}));
}

TEST(BpeEncoder, ControlTokensAreNeverSpelled) {
  Vocabulary v = Small("llama-bpe", {"a b"}, {"ab", "abc"});
  v.types[256] = TokenType::kControl;
  v.types[257] = TokenType::kControl;
  EXPECT_EQ(Encode(v, "ab"), (Ids{'a', 'b'}));
  EXPECT_EQ(Encode(v, "abc"), (Ids{'a', 'b', 'c'}));
}

TEST(BpeEncoder, AMissingByteIsNamed) {
  Vocabulary v = Small("gpt-2", {}, {});
  v.tokens[7] = "seven";
  auto encoder = BpeEncoder::Create(v);
  ASSERT_TRUE(encoder.ok());
  Ids ids;
  const absl::Status status = (*encoder)->Append("a\x07", &ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("0x07"), std::string::npos);
}

TEST(BpeEncoder, RefusesBrokenVocabularies) {
  for (const char* merge : {"ab", "", " ", "a ", "ab "}) {
    EXPECT_EQ(BpeEncoder::Create(Small("gpt-2", {merge}, {})).status().code(), absl::StatusCode::kInvalidArgument)
        << merge;
  }
  const absl::Status unknown = BpeEncoder::Create(Small("gpt-9", {}, {})).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.message().find("\"gpt-9\""), std::string::npos);
  EXPECT_NE(unknown.message().find("qwen2"), std::string::npos);
}

}  // namespace
}  // namespace barn
