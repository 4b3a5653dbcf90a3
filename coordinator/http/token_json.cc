#include "coordinator/http/token_json.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// JSON has no -inf; OpenAI sends this number in its place.
double Finite(double logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

Json OrNull(const std::optional<double>& logprob) {
  return logprob.has_value() ? Json(Finite(*logprob)) : Json(nullptr);
}

Json Bytes(const std::string& piece) {
  Json bytes = Json::array();
  for (const char byte : piece) bytes.push_back(static_cast<uint8_t>(byte));
  return bytes;
}

// The best tokens by name, best first where two share one; null for a token that nothing predicts.
Json TopByName(const Tokenizer& tokenizer, const TextToken& token) {
  if (!token.logprob.has_value()) return nullptr;
  Json top = Json::object();
  for (const TokenLogprob& entry : token.top) top.emplace(TokenName(tokenizer, entry.id), Finite(entry.logprob));
  top.emplace(TokenName(tokenizer, token.id), Finite(*token.logprob));
  return top;
}

Json NamedToken(const Tokenizer& tokenizer, int32_t id, double logprob) {
  return {
      {"token", TokenName(tokenizer, id)}, {"bytes", Bytes(tokenizer.Piece(id, true))}, {"logprob", Finite(logprob)}};
}

}  // namespace

std::string TokenName(const Tokenizer& tokenizer, int32_t id) {
  const std::string piece = tokenizer.Piece(id, true);
  if (WellFormedPrefix(piece) == piece.size()) return piece;
  std::string name = "bytes:";
  for (const char byte : piece) absl::StrAppendFormat(&name, "\\x%02x", static_cast<uint8_t>(byte));
  return name;
}

Json CompletionLogprobs(const Tokenizer& tokenizer, const std::vector<TextToken>& tokens, bool with_top) {
  Json names = Json::array(), logprobs = Json::array(), top = Json::array(), offsets = Json::array();
  for (const TextToken& token : tokens) {
    names.push_back(TokenName(tokenizer, token.id));
    logprobs.push_back(OrNull(token.logprob));
    offsets.push_back(token.start_chars);
    if (with_top) top.push_back(TopByName(tokenizer, token));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", with_top ? std::move(top) : Json(nullptr)},
          {"text_offset", std::move(offsets)}};
}

Json ChatLogprobs(const Tokenizer& tokenizer, const std::vector<TextToken>& tokens) {
  Json content = Json::array();
  for (const TextToken& token : tokens) {
    Json entry = NamedToken(tokenizer, token.id, token.logprob.value_or(0));
    Json top = Json::array();
    for (const TokenLogprob& other : token.top) top.push_back(NamedToken(tokenizer, other.id, other.logprob));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

}  // namespace barn
