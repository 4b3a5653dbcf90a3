#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace barn::jinja {

enum class TokenKind {
  kText,         // What stands between tags.
  kOpenOutput,   // {{
  kCloseOutput,  // }}
  kOpenBlock,    // {%
  kCloseBlock,   // %}
  kName,
  kString,  // Its content.
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 1;
};

// Cuts a template into tokens, with the environment that chat templates are written for: trim_blocks and lstrip_blocks
// on, a newline at the very end dropped. InvalidArgument: with the line.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace barn::jinja
