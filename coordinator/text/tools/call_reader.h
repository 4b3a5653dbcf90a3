#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/tools/answer_format.h"
#include "coordinator/text/tools/answer_part.h"

namespace barn {

// What reading a call needs to know of a tool.
struct ToolSpec {
  std::string name;
  std::set<std::string> text_parameters = {};  // Those of JSON type string alone: GLM writes them without quotes.
};

// The calls that stand between the markers of a family. InvalidArgument: it is none, its arguments are not a JSON
// object, or it names a tool that is not there.
absl::StatusOr<std::vector<ToolCall>> ReadCalls(CallFamily family, std::string_view body,
                                                const std::vector<ToolSpec>& tools);

// {"a": 1} as ReadCalls gives it: checked, with Python's separators. InvalidArgument: not a JSON object.
absl::StatusOr<std::string> ReadArguments(std::string_view json);

const ToolSpec* FindTool(const std::vector<ToolSpec>& tools, std::string_view name);

}  // namespace barn
