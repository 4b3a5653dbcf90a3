#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Debian's Abseil predates the public return macros; these two stand in for them.
#define BARN_STATUS_CONCAT_INNER(a, b) a##b
#define BARN_STATUS_CONCAT(a, b) BARN_STATUS_CONCAT_INNER(a, b)

// Leaves the calling function with the status of `expr` unless that is OK.
#define BARN_RETURN_IF_ERROR(expr)                              \
  do {                                                          \
    if (absl::Status barn_status = (expr); !barn_status.ok()) { \
      return barn_status;                                       \
    }                                                           \
  } while (false)

// BARN_ASSIGN_OR_RETURN(int x, F()): declares or assigns the value of F(), or leaves with its status.
#define BARN_ASSIGN_OR_RETURN(lhs, expr) \
  BARN_ASSIGN_OR_RETURN_INNER(BARN_STATUS_CONCAT(barn_result_, __LINE__), lhs, expr)
#define BARN_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) {                                  \
    return std::move(result).status();                 \
  }                                                    \
  lhs = std::move(result).value()
