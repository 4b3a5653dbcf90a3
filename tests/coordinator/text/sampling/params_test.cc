#include "coordinator/text/sampling/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/match.h"

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SamplingParams, ValidateNamesTheParameter) {
  const auto message = [](auto change) {
    SamplingParams params;
    change(params);
    const absl::Status status = Validate(params, 100);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  using P = SamplingParams;
  EXPECT_EQ(message([](P& p) { p.temperature = 2.5f; }), "temperature is 2.5, it must be between 0 and 2");
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.temperature = NAN; }), "temperature"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.top_k = -1; }), "top_k"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.top_p = 1.01f; }), "top_p"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.min_p = -0.1f; }), "min_p"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.repetition_penalty = 0; }), "repetition_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.presence_penalty = -2.1f; }), "presence_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.frequency_penalty = INFINITY; }), "frequency_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias = {{100, 1.0f}}; }), "logit_bias names token 100"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias = {{5, 101.0f}}; }), "logit_bias of token 5"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias.resize(1025); }), "1025 entries"));
  EXPECT_EQ(message([](P& p) { p.dry_allowed_length = 0; }), "dry_allowed_length is 0, it must be between 1 and 65536");
  EXPECT_EQ(message([](P& p) { p.mirostat = 1; }), "mirostat is 1, only 0 (off) and 2 are supported");
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.repeat_last_n = -2; }), "repeat_last_n is -2"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.banned_strings = {"x"}; }), "need a model with a tokenizer"));
  EXPECT_TRUE(
      absl::StrContains(message([](P& p) { p.banned_strings = {""}; }), "banned_strings has an entry of 0 bytes"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.dry_sequence_breakers.resize(129, "x"); }), "129 entries"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.samplers.push_back(SamplerKind::kTopK); }), "a second time"));
  EXPECT_TRUE(Validate(SamplingParams{}, 100).ok());
}

// Each number has its range in the list, and each range its ends.
TEST(SamplingParams, EveryNumberHasItsRange) {
  for (const NumberParam& number : NumberParams()) {
    for (const double value : {number.min, number.max}) {
      SamplingParams params;
      params.*number.value = value;
      EXPECT_TRUE(Validate(params).ok()) << std::string(number.name) << " " << value;
    }
    for (const double value : {number.min - 0.001, number.max + 0.001, static_cast<double>(NAN)}) {
      SamplingParams params;
      params.*number.value = value;
      EXPECT_THAT(std::string(Validate(params).message()), HasSubstr(std::string(number.name))) << value;
    }
  }
}

TEST(SamplingParams, SamplersAreNamed) {
  using K = SamplerKind;
  const std::vector<std::string> names = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                          "top_p",     "min_p", "xtc",         "temperature"};
  EXPECT_THAT(*ReadSamplers(names), ElementsAre(K::kPenalties, K::kDry, K::kTopNSigma, K::kTopK, K::kTypical, K::kTopP,
                                                K::kMinP, K::kXtc, K::kTemperature));
  EXPECT_EQ(*ReadSamplerLetters("edskypmxt"), *ReadSamplers(names));
  EXPECT_THAT(*ReadSamplers(std::vector<std::string>{"typical_p"}), ElementsAre(K::kTypical));
  EXPECT_TRUE(ReadSamplers({})->empty());
  EXPECT_THAT(std::string(ReadSamplers(std::vector<std::string>{"tfs_z"}).status().message()),
              HasSubstr("samplers names 'tfs_z'; known are penalties"));
  EXPECT_FALSE(ReadSamplers(std::vector<std::string>{"top_k", "top_k"}).ok());
  EXPECT_FALSE(ReadSamplerLetters("kz").ok());
  EXPECT_FALSE(ReadSamplerLetters(std::string_view("\0", 1)).ok());
}

}  // namespace
}  // namespace barn
