#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

inline constexpr int64_t kPositionsMax = 400'000;
inline constexpr int64_t kEdgesMax = 2'000'000;

// A grammar as a pushdown automaton over bytes. Small rules stand where they are used; calls of the others push the
// position to return to. Counted repetitions push the number of rounds instead of being written out.
struct Program {
  enum class Op : uint8_t {
    kBytes,   // Consumes a byte: edges [a, b).
    kToken,   // Consumes the token with id a, then goes to b.
    kSplit,   // Goes to each of targets [a, b).
    kCall,    // Goes to a; b is where the callee returns to.
    kReturn,  // Goes to where the caller said.
    kEnter,   // Goes to a loop's body; a is the loop's kLoop position.
    kLoop,    // The end of a round of loop a.
  };
  struct Position {
    Op op = Op::kReturn;
    int32_t a = 0;
    int32_t b = 0;
  };
  struct Edge {
    uint8_t low = 0;
    uint8_t high = 0;  // Inclusive.
    int32_t next = 0;
  };
  struct Loop {
    int32_t body = 0;
    int32_t after = 0;
    int32_t min = 0;
    int32_t max = 0;  // kUnbounded for any number.
  };

  std::vector<Position> positions;
  std::vector<Edge> edges;
  std::vector<int32_t> targets;
  std::vector<Loop> loops;
  int32_t start = 0;
  // Bytes that no edge tells apart are of one class.
  std::array<uint8_t, 256> byte_class = {};
  int32_t byte_classes = 1;
};

// Compiles the rules from `root` on. They are normalized, defined and not left-recursive. ResourceExhausted: it needs
// more than kPositionsMax positions or the like.
absl::StatusOr<std::unique_ptr<const Program>> CompileRules(const Rules& rules, int32_t root,
                                                            const std::vector<bool>& productive);

}  // namespace barn::grammar
