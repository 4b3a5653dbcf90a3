#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/text/chat_template.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// The model as clients see it.
struct ServedModel {
  std::string id;                         // Name in requests and in /v1/models.
  std::vector<std::string> aliases = {};  // Other names that requests may use.
  int64_t created = 0;                    // Unix time, seconds.
  const Tokenizer& tokenizer;             // Outlives the server.
  // Null: chats are rendered as plain text with roles, or refused where `chat_template_error` says why.
  std::shared_ptr<const ChatTemplate> chat_template = nullptr;
  std::string chat_template_error = {};
  int64_t context_tokens = 0;  // Longest prompt plus answer of one request; 0: as the engine says.
};

}  // namespace barn
