#pragma once

#include <span>
#include <string>

namespace barn {

struct ChatMessage {
  std::string role;
  std::string content;
};

// A chat as plain text, for models without a usable template: "role: content" lines, then "assistant:" for the answer.
std::string RenderPlainChat(std::span<const ChatMessage> messages);

}  // namespace barn
