#include "coordinator/text/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::None;
using jinja::Value;

// U+FDD0, which no text means to hold: Unicode keeps it for a program's own use.
constexpr std::string_view kMark = "\xEF\xB7\x90";

std::string TokenText(const Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? "" : tokenizer.Piece(id, /*special=*/true);
}

}  // namespace

std::string ContentText(const Value& content) {
  if (content.is_string()) return *content.text();
  std::string text;
  for (const Value& part : content.list() == nullptr ? List() : *content.list()) {
    const Value* own = part.dict() == nullptr ? nullptr : part.dict()->Find("text");
    if (own != nullptr && own->is_string()) text += *own->text();
  }
  return text;
}

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Create(std::string_view source,
                                                                         const Tokenizer& tokenizer) {
  absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  std::shared_ptr<ChatTemplate> result(new ChatTemplate(*std::move(parsed), tokenizer));
  result->knows_developer_ = source.find("developer") != source.npos;
  result->format_ = DetectAnswerFormat(source, tokenizer.vocabulary());
  result->tool_form_ = DetectToolForm(source, [&result](const List& messages, const Value& tools) {
    return result->RenderShaped({.messages = messages, .tools = tools, .extra = {}, .now = absl::UnixEpoch()});
  });
  return result;
}

ChatTemplate::ChatTemplate(jinja::Template chat_template, const Tokenizer& tokenizer)
    : template_(std::move(chat_template)), tokenizer_(tokenizer) {
  for (int64_t id = 0; id < tokenizer.size(); ++id) {
    if (!tokenizer.IsSpecial(static_cast<int32_t>(id))) continue;
    const std::string text = TokenText(tokenizer, static_cast<int32_t>(id));
    if (text.size() < 2) continue;
    control_texts_.insert(text);
    control_lengths_.insert(text.size());
    control_first_.insert(text[0]);
  }
}

std::string ChatTemplate::GuardText(std::string_view text) const {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    out += text[at];
    if (!control_first_.contains(text[at])) continue;
    for (const size_t length : control_lengths_) {
      if (length > text.size() - at) break;
      if (control_texts_.contains(std::string(text.substr(at, length)))) {
        out += kMark;
        break;
      }
    }
  }
  return out;
}

Value ChatTemplate::GuardAll(const Value& value) const {
  if (value.is_string()) return Value(GuardText(*value.text()));
  if (value.list() != nullptr) {
    List items;
    for (const Value& item : *value.list()) items.push_back(GuardAll(item));
    return Value(std::move(items));
  }
  if (value.dict() == nullptr) return value;
  Dict entries;
  for (const auto& [key, item] : value.dict()->entries()) entries.Set(GuardText(key), GuardAll(item));
  return Value(std::move(entries));
}

// A call's arguments may quote anything; the rest of it stays as it is, since templates compare names and ids.
Value ChatTemplate::GuardCalls(const Value& calls) const {
  List result;
  for (const Value& call : calls.list() == nullptr ? List() : *calls.list()) {
    const Value* function = call.dict() == nullptr ? nullptr : call.dict()->Find("function");
    if (function == nullptr || function->dict() == nullptr) {
      result.push_back(GuardAll(call));
      continue;
    }
    Dict guarded = *function->dict();
    for (const auto& [key, value] : function->dict()->entries()) {
      if (key == "arguments") guarded.Set(key, GuardAll(value));
    }
    Dict copy = *call.dict();
    copy.Set("function", Value(std::move(guarded)));
    result.push_back(Value(std::move(copy)));
  }
  return Value(std::move(result));
}

// Assistant messages are the model's own words, which templates take apart at tokens such as </think>.
Value ChatTemplate::Guarded(const Value& message) const {
  if (message.dict() == nullptr) return message;
  const Value* role = message.dict()->Find("role");
  const bool own = role != nullptr && role->is_string() && *role->text() == "assistant";
  Dict result;
  for (const auto& [key, value] : message.dict()->entries()) {
    if (key == "content" && !value.is_none()) {
      const std::string text = ContentText(value);
      result.Set(key, own ? Value(text) : Value(GuardText(text)));
    } else if (key == "tool_calls") {
      result.Set(key, GuardCalls(value));
    } else if (key == "role" && !knows_developer_ && value.is_string() && *value.text() == "developer") {
      result.Set(key, Value("system"));
    } else {
      result.Set(key, value);
    }
  }
  return Value(std::move(result));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatInput& input) const {
  ChatInput shaped = {.messages = {},
                      .tools = GuardAll(input.tools),
                      .extra = input.extra,
                      .add_generation_prompt = input.add_generation_prompt,
                      .now = input.now};
  for (const Value& message : input.messages) {
    shaped.messages.push_back(Guarded(ShapeMessage(message, tool_form_)));
  }
  absl::StatusOr<std::string> text = RenderShaped(shaped);
  if (!text.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the model's chat template: ", text.status().message()));
  }
  return text;
}

absl::StatusOr<std::string> ChatTemplate::RenderShaped(const ChatInput& input) const {
  const Vocabulary& vocabulary = tokenizer_.vocabulary();
  Dict inputs;
  inputs.Set("add_generation_prompt", Value(input.add_generation_prompt));
  inputs.Set("bos_token", Value(TokenText(tokenizer_, vocabulary.bos)));
  inputs.Set("eos_token", Value(TokenText(tokenizer_, vocabulary.eos)));
  inputs.Set("tools", input.tools);
  inputs.Set("documents", Value(None{}));
  for (const auto& [name, value] : input.extra.entries()) inputs.Set(name, value);
  inputs.Set("messages", Value(input.messages));
  return template_.Render(inputs, {.now = input.now, .time_zone = absl::LocalTimeZone()});
}

std::string ChatTemplate::Unguarded(std::string_view rendered) {
  std::string text;
  for (size_t mark = 0; (mark = rendered.find(kMark)) != rendered.npos;) {
    text += rendered.substr(0, mark);
    rendered.remove_prefix(mark + kMark.size());
  }
  return text.append(rendered);
}

absl::StatusOr<std::vector<int32_t>> ChatTemplate::Encode(std::string_view rendered) const {
  std::vector<int32_t> ids;
  const Vocabulary& vocabulary = tokenizer_.vocabulary();
  for (bool continues = false;; continues = true) {
    const size_t mark = rendered.find(kMark);
    absl::StatusOr<std::vector<int32_t>> part = tokenizer_.Encode(
        rendered.substr(0, mark), {.add_special = false, .parse_special = true, .continues = continues});
    if (!part.ok()) return part.status();
    ids.insert(ids.end(), part->begin(), part->end());
    if (mark == rendered.npos) break;
    rendered.remove_prefix(mark + kMark.size());
  }
  if (vocabulary.add_bos && vocabulary.bos >= 0 && (ids.empty() || ids.front() != vocabulary.bos)) {
    ids.insert(ids.begin(), vocabulary.bos);
  }
  return ids;
}

}  // namespace barn
