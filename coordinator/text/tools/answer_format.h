#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/vocabulary.h"

namespace barn {

// How a model writes a tool call. kTagged: <tool_call> around JSON (Hermes, Qwen), <function=...> (Qwen3-Coder) or
// <arg_key> pairs (GLM). kHarmony: gpt-oss, whose channels also carry the reasoning.
enum class CallFamily { kNone, kTagged, kLlama3, kMistral, kDeepSeek, kKimi, kCommandR, kHarmony };

// What a chat template and a vocabulary tell about the answers of their model.
struct AnswerFormat {
  CallFamily family = CallFamily::kNone;
  std::string think_begin = {};  // Around the reasoning; empty where nothing marks it.
  std::string think_end = {};
  // Tokens that decoding hides and that take an answer apart.
  std::set<int32_t> shown = {};

  bool reasons() const { return !think_end.empty() || family == CallFamily::kHarmony; }
};

AnswerFormat DetectAnswerFormat(std::string_view chat_template, const Vocabulary& vocabulary);

// How a family marks its calls. Longer markers stand before their own beginnings.
struct CallSyntax {
  std::vector<std::string> begin;
  std::string end;                  // Empty: the call goes on to the next `begin` or the end of the answer.
  std::vector<std::string> hidden;  // Say nothing by themselves.
  bool bare_json = false;           // An answer that is only a JSON object may be a call, too.
};

const CallSyntax& SyntaxOf(CallFamily family);

}  // namespace barn
