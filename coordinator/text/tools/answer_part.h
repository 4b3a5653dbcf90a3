#pragma once

#include <string>

namespace barn {

// A model's wish to have a tool run.
struct ToolCall {
  std::string name;
  std::string arguments;  // The text of a JSON object.
};

// A piece of an answer: thoughts and content come in parts as they grow, a call comes whole.
struct AnswerPart {
  enum class Kind { kReasoning, kContent, kCall };
  Kind kind = Kind::kContent;
  std::string text = {};
  ToolCall call = {};
};

}  // namespace barn
