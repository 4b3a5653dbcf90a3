#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/text/jinja/value.h"

namespace barn::jinja {

// The value of a JSON text, objects in the order of the text: templates print them as the client wrote them.
// InvalidArgument: not JSON, or nested deeper than 64.
absl::StatusOr<Value> ParseJson(std::string_view json);

struct JsonStyle {
  int indent = -1;  // Spaces of a level; negative: one line.
  bool ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Python's json.dumps. InvalidArgument: a value that JSON has no form for. Stops once `out` is larger than bytes_max.
absl::Status AppendJson(const Value& value, const JsonStyle& style, size_t bytes_max, std::string& out);

}  // namespace barn::jinja
