#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace barn {

// `address`: host:port, [v6 host]:port or unix:path. Whoever can reach the cluster port can join and read the model, so
// an address beyond this machine needs a token. InvalidArgument: no port. FailedPrecondition: no token.
absl::Status CheckListenAddress(std::string_view address, bool has_token);

}  // namespace barn
