#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

struct InfillFile {
  std::string name;
  std::string text;
};

// A file with a gap, and others that tell about it.
struct InfillText {
  std::string before = {};
  std::string after = {};
  std::string begun = {};               // What the gap is known to begin with.
  std::vector<InfillFile> others = {};  // The last one matters most.
};

// Whether the model has marks for gaps.
bool HasInfillMarks(const Tokenizer& tokenizer);

// The prompt that asks a model to fill the gap: its marks in the order that it was trained on (others first, then
// prefix, suffix, middle; Codestral: suffix, prefix), with the texts between them, in which nothing becomes a mark.
// Where that is more than tokens_max, the ends that are farthest from the gap go: three quarters of the room stay for
// what stands before it, and others get what is left over. Unimplemented: the model has no such marks. InvalidArgument:
// tokens_max has no room for them, or a text is too long.
absl::StatusOr<std::vector<int32_t>> InfillPrompt(const Tokenizer& tokenizer, const InfillText& text,
                                                  int64_t tokens_max);

}  // namespace barn
