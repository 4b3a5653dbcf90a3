#pragma once

#include <nlohmann/json.hpp>

#include "coordinator/accounts/key_store.h"

namespace barn {

// {"key", "model", "day", "prompt_tokens", "generated_tokens", "requests"}, as `barn usage` and /v1/usage tell it.
inline nlohmann::json UsageJson(const UsageRow& row) {
  return {{"key", row.key_name},
          {"model", row.model},
          {"day", DayText(row.day)},
          {"prompt_tokens", row.prompt_tokens},
          {"generated_tokens", row.generated_tokens},
          {"requests", row.requests}};
}

}  // namespace barn
