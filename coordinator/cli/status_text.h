#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace barn {

// What `barn status` prints of the JSON that a coordinator answers with (StateJson): the model, a line for each worker
// with its layers and how it spends its time, requests and memory. DataLoss: not that JSON.
absl::StatusOr<std::string> StatusText(absl::string_view json);

}  // namespace barn
