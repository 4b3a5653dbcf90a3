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

// A list of parts as one text.
std::string ContentText(const Value& content) {
  if (content.is_string()) return *content.text();
  std::string text;
  for (const Value& part : content.list() == nullptr ? List() : *content.list()) {
    const Value* own = part.dict() == nullptr ? nullptr : part.dict()->Find("text");
    if (own != nullptr && own->is_string()) text += *own->text();
  }
  return text;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Create(std::string_view source,
                                                                         const Tokenizer& tokenizer) {
  absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  std::shared_ptr<ChatTemplate> result(new ChatTemplate(*std::move(parsed), tokenizer));
  result->knows_developer_ = source.find("developer") != source.npos;
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
    } else if (key == "role" && !knows_developer_ && value.is_string() && *value.text() == "developer") {
      result.Set(key, Value("system"));
    } else {
      result.Set(key, value);
    }
  }
  return Value(std::move(result));
}

absl::StatusOr<std::string> ChatTemplate::Render(const List& messages, const Dict& extra, absl::Time now) const {
  const Vocabulary& vocabulary = tokenizer_.vocabulary();
  Dict inputs;
  inputs.Set("add_generation_prompt", Value(true));
  inputs.Set("bos_token", Value(TokenText(tokenizer_, vocabulary.bos)));
  inputs.Set("eos_token", Value(TokenText(tokenizer_, vocabulary.eos)));
  inputs.Set("tools", Value(None{}));
  inputs.Set("documents", Value(None{}));
  for (const auto& [name, value] : extra.entries()) inputs.Set(name, value);
  List guarded;
  for (const Value& message : messages) guarded.push_back(Guarded(message));
  inputs.Set("messages", Value(std::move(guarded)));
  absl::StatusOr<std::string> text = template_.Render(inputs, {.now = now, .time_zone = absl::LocalTimeZone()});
  if (!text.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the model's chat template: ", text.status().message()));
  }
  return text;
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
