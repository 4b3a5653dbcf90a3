#include "coordinator/text/chat_format.h"

#include "absl/strings/str_cat.h"

namespace barn {

std::string RenderPlainChat(std::span<const ChatMessage> messages) {
  std::string text;
  for (const ChatMessage& message : messages) absl::StrAppend(&text, message.role, ": ", message.content, "\n");
  return text.append("assistant:");
}

}  // namespace barn
