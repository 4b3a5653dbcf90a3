#include "coordinator/cli/number_list.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace barn {

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(absl::string_view text, int64_t vocabulary) {
  std::vector<int32_t> ids;
  for (const absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(", \n\t"), absl::SkipEmpty())) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(word, &id) || id < 0 || id >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not a token id from 0 to %d", word, vocabulary - 1));
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace barn
