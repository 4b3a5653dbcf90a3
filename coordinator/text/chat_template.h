#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/text/jinja/template.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// A model's own chat template with what its tokenizer adds: bos_token and eos_token, and token ids of what it renders.
// Immutable; thread-safe.
class ChatTemplate {
 public:
  // `tokenizer` outlives this. InvalidArgument: see jinja::Template::Parse.
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Create(std::string_view source,
                                                                    const Tokenizer& tokenizer);

  // The prompt of a chat. `messages` are OpenAI's: dicts with role and content, the content a text, a list of text
  // parts or null; `extra` are further variables (chat_template_kwargs). InvalidArgument: what the template refuses,
  // with its line, or what the tokenizer cannot encode.
  absl::StatusOr<std::string> Render(const jinja::List& messages, const jinja::Dict& extra, absl::Time now) const;

  // The ids of a rendered chat: the text of special tokens becomes those tokens, except where it came in with
  // somebody's words; one begin token in front where the model wants one, whether the template writes it or not.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view rendered) const;

 private:
  ChatTemplate(jinja::Template chat_template, const Tokenizer& tokenizer);

  jinja::Value Guarded(const jinja::Value& message) const;
  // `text` with a mark inside of everything that reads as a control token.
  std::string GuardText(std::string_view text) const;

  jinja::Template template_;
  const Tokenizer& tokenizer_;
  bool knows_developer_ = false;  // Names the role; other templates see "system".
  std::unordered_set<std::string> control_texts_;
  std::set<size_t> control_lengths_;
  std::set<char> control_first_;
};

}  // namespace barn
