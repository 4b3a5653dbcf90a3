#include "coordinator/http/text_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/chat_job.h"
#include "coordinator/http/fields.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// A token with its text, or with its bytes where they are not whole characters.
Json PieceJson(const Tokenizer& tokenizer, int32_t id) {
  const std::string piece = tokenizer.Piece(id, true);
  if (WellFormedPrefix(piece) == piece.size()) return {{"id", id}, {"piece", piece}};
  Json bytes = Json::array();
  for (const char byte : piece) bytes.push_back(static_cast<uint8_t>(byte));
  return {{"id", id}, {"piece", std::move(bytes)}};
}

std::optional<ApiError> ReadTokens(const Json& list, int64_t size, std::vector<int32_t>& ids) {
  if (!list.is_array()) return BadParam("tokens", "'tokens' must be a list of token ids");
  for (const Json& entry : list) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() >= static_cast<uint64_t>(size)) {
      return BadParam("tokens", absl::StrCat("'tokens' holds ", entry.is_number() ? entry.dump() : entry.type_name(),
                                             " where a token id below ", size, " is due"));
    }
    ids.push_back(entry.get<int32_t>());
  }
  return std::nullopt;
}

}  // namespace

// {"content" or "prompt", "add_special", "parse_special", "with_pieces"} -> {"tokens", "count"}
RouteResult Tokenize(const ApiContext& context, const HttpRequest& request) {
  const absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (!body->is_object()) return NotAnObject(*body);
  Fields fields(*body);
  const absl::string_view name =
      fields.Find("content") == nullptr && fields.Find("prompt") != nullptr ? "prompt" : "content";
  if (fields.Find(name) == nullptr) fields.Fail(name, "is required: the text");
  const std::string text = fields.String(name, "");
  const EncodeOptions options = {.add_special = fields.Bool("add_special", false),
                                 .parse_special = fields.Bool("parse_special", true)};
  const bool with_pieces = fields.Bool("with_pieces", false);
  if (!fields.ok()) return *fields.error();
  const Tokenizer& tokenizer = context.model.tokenizer;
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text, options);
  if (!ids.ok()) return BadParam(name, ids.status().message());
  Json tokens = Json::array();
  for (const int32_t id : *ids) tokens.push_back(with_pieces ? PieceJson(tokenizer, id) : Json(id));
  return JsonReply({{"tokens", std::move(tokens)}, {"count", ids->size()}});
}

// {"tokens"} -> {"content", "prompt"}
RouteResult Detokenize(const ApiContext& context, const HttpRequest& request) {
  const absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (!body->is_object()) return NotAnObject(*body);
  std::vector<int32_t> ids;
  if (auto error = ReadTokens(body->value("tokens", Json()), context.model.tokenizer.size(), ids)) return *error;
  const std::string text =
      ReplaceBrokenUtf8(context.model.tokenizer.Decode(ids, {.special = true, .at_text_start = false}));
  return JsonReply({{"content", text}, {"prompt", text}});
}

// The body of a chat request -> {"prompt", "count"}
RouteResult ApplyTemplate(const ApiContext& context, const HttpRequest& request) {
  ChatRequest chat;
  if (auto error = ReadBody(request, chat, &ReadChatRequest)) return *error;
  if (auto error = ReadTemplateInputs(request.body, chat)) return *error;
  std::variant<ApiError, ChatPrompt> prompt = RenderChat(context.model, chat);
  if (std::holds_alternative<ApiError>(prompt)) return std::get<ApiError>(std::move(prompt));
  const ChatPrompt& ready = std::get<ChatPrompt>(prompt);
  return JsonReply({{"prompt", ChatTemplate::Unguarded(ready.text)}, {"count", ready.ids.size()}});
}

}  // namespace barn
