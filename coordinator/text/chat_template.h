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
#include "coordinator/text/tools/answer_format.h"
#include "coordinator/text/tools/tool_messages.h"

namespace barn {

// The text of a message's content: a text, a list of text parts, or none.
std::string ContentText(const jinja::Value& content);

// A chat as a template sees it.
struct ChatInput {
  // OpenAI's: dicts with role and content (a text, a list of text parts or null), tool_calls, tool_call_id.
  jinja::List messages = {};
  jinja::Value tools = jinja::Value(jinja::None{});  // None, or OpenAI's list.
  jinja::Dict extra = {};                            // Further variables (chat_template_kwargs).
  bool add_generation_prompt = true;
  absl::Time now = absl::InfinitePast();
};

// A model's own chat template with what its tokenizer adds: bos_token and eos_token, and token ids of what it renders.
// Immutable; thread-safe.
class ChatTemplate {
 public:
  // `tokenizer` outlives this. InvalidArgument: see jinja::Template::Parse.
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Create(std::string_view source,
                                                                    const Tokenizer& tokenizer);

  // The prompt of a chat. InvalidArgument: what the template refuses, with its line.
  absl::StatusOr<std::string> Render(const ChatInput& input) const;

  // The ids of a rendered chat: the text of special tokens becomes those tokens, except where it came in with
  // somebody's words; one begin token in front where the model wants one, whether the template writes it or not.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view rendered) const;

  // A rendered chat without the marks that Render leaves in somebody's words.
  static std::string Unguarded(std::string_view rendered);

  // How the model's answers are to be taken apart.
  const AnswerFormat& format() const { return format_; }
  // Definitions of tools reach the model.
  bool knows_tools() const { return tool_form_.renders_tools; }
  // So do calls and results of earlier turns.
  bool knows_calls() const { return tool_form_.renders_calls; }

 private:
  ChatTemplate(jinja::Template chat_template, const Tokenizer& tokenizer);

  absl::StatusOr<std::string> RenderShaped(const ChatInput& input) const;
  jinja::Value Guarded(const jinja::Value& message) const;
  // The same value with every text in it guarded, keys too.
  jinja::Value GuardAll(const jinja::Value& value) const;
  jinja::Value GuardCalls(const jinja::Value& calls) const;
  // `text` with a mark inside of everything that reads as a control token.
  std::string GuardText(std::string_view text) const;

  jinja::Template template_;
  AnswerFormat format_;
  ToolForm tool_form_;
  const Tokenizer& tokenizer_;
  bool knows_developer_ = false;  // Names the role; other templates see "system".
  std::unordered_set<std::string> control_texts_;
  std::set<size_t> control_lengths_;
  std::set<char> control_first_;
};

}  // namespace barn
