#pragma once

#include <cstdio>
#include <cstdlib>

// Stops the process when an invariant that only a bug can break does not hold. Never for input.
#define BARN_CHECK(condition)                                                                \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
