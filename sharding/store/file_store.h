#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "sharding/store/store.h"

namespace barn {

// A local file, read with pread and mapped read-only. Its identity is path, size and modification time.
// NotFound; PermissionDenied; InvalidArgument: not a regular file.
absl::StatusOr<std::unique_ptr<Store>> OpenFileStore(std::string_view path);

}  // namespace barn
