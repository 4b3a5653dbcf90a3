#include "coordinator/text/tools/answer_format.h"

#include <algorithm>
#include <array>
#include <utility>

#include "coordinator/text/tools/harmony_markers.h"

namespace barn {
namespace {

// The first text that the template holds decides.
constexpr std::array<std::pair<std::string_view, CallFamily>, 9> kFamilyTexts = {{
    {"<|channel|>", CallFamily::kHarmony},
    {"<｜tool▁call▁begin｜>", CallFamily::kDeepSeek},
    {"<|tool_call_begin|>", CallFamily::kKimi},
    {"[TOOL_CALLS]", CallFamily::kMistral},
    {"<|START_ACTION|>", CallFamily::kCommandR},
    {"<tool_call>", CallFamily::kTagged},
    {"<arg_key>", CallFamily::kTagged},
    {"<|python_tag|>", CallFamily::kLlama3},
    {"<|start_header_id|>ipython", CallFamily::kLlama3},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kThinkTexts = {{
    {"<think>", "</think>"},
    {"[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
}};

bool Holds(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

bool HasToken(const Vocabulary& vocabulary, std::string_view text) {
  return std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text) != vocabulary.tokens.end();
}

std::set<std::string> Markers(const AnswerFormat& format) {
  const CallSyntax& syntax = SyntaxOf(format.family);
  std::set<std::string> markers(syntax.begin.begin(), syntax.begin.end());
  markers.insert(syntax.hidden.begin(), syntax.hidden.end());
  for (const std::string& text : {syntax.end, format.think_begin, format.think_end}) {
    if (!text.empty()) markers.insert(text);
  }
  for (const std::string_view inner : {"<｜tool▁sep｜>", "<|tool_call_argument_begin|>", "[ARGS]", "[CALL_ID]"}) {
    if (format.family != CallFamily::kNone) markers.insert(std::string(inner));
  }
  if (format.family == CallFamily::kHarmony) markers.insert(kHarmonyMarkers.begin(), kHarmonyMarkers.end());
  return markers;
}

CallSyntax MakeSyntax(CallFamily family) {
  switch (family) {
    case CallFamily::kTagged:
      return {.begin = {"<tool_call>"}, .end = "</tool_call>", .hidden = {}};
    case CallFamily::kLlama3:
      return {.begin = {"<|python_tag|>"}, .end = "", .hidden = {}, .bare_json = true};
    case CallFamily::kMistral:
      return {.begin = {"[TOOL_CALLS]"}, .end = "", .hidden = {}};
    case CallFamily::kDeepSeek:
      return {.begin = {"<｜tool▁call▁begin｜>"},
              .end = "<｜tool▁call▁end｜>",
              .hidden = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"}};
    case CallFamily::kKimi:
      return {.begin = {"<|tool_call_begin|>"},
              .end = "<|tool_call_end|>",
              .hidden = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"}};
    case CallFamily::kCommandR:
      return {
          .begin = {"<|START_ACTION|>"}, .end = "<|END_ACTION|>", .hidden = {"<|START_RESPONSE|>", "<|END_RESPONSE|>"}};
    case CallFamily::kHarmony:
    case CallFamily::kNone:
      break;
  }
  return {};
}

}  // namespace

AnswerFormat DetectAnswerFormat(std::string_view chat_template, const Vocabulary& vocabulary) {
  AnswerFormat format;
  for (const auto& [text, family] : kFamilyTexts) {
    if (!Holds(chat_template, text)) continue;
    format.family = family;
    break;
  }
  if (format.family != CallFamily::kHarmony) {
    for (const auto& [begin, end] : kThinkTexts) {
      if (!Holds(chat_template, end) && !Holds(chat_template, begin) && !HasToken(vocabulary, end)) continue;
      format.think_begin = begin;
      format.think_end = end;
      break;
    }
  }
  const std::set<std::string> markers = Markers(format);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (markers.contains(vocabulary.tokens[id])) format.shown.insert(static_cast<int32_t>(id));
  }
  return format;
}

const CallSyntax& SyntaxOf(CallFamily family) {
  static const auto* syntaxes = [] {
    auto* all = new std::array<CallSyntax, 8>();
    for (size_t i = 0; i < all->size(); ++i) (*all)[i] = MakeSyntax(static_cast<CallFamily>(i));
    return all;
  }();
  return (*syntaxes)[static_cast<size_t>(family)];
}

}  // namespace barn
