#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/store/store.h"

namespace barn {

struct HttpStoreOptions {
  absl::Duration connect_timeout = absl::Seconds(15);
  absl::Duration stall_timeout =
      absl::Seconds(20);  // A transfer below 1 byte/s for so long is broken off; whole seconds.
  absl::Duration backoff_first = absl::Milliseconds(250);  // Doubles with each failure, up to 4 s.
  int attempts_max = 5;                                    // Failures in a row; every MiB that arrives allows one more.
  int redirects_max = 8;
};

// A file behind an HTTP server that answers byte ranges. Size and version (ETag or date) are asked once, at open; a
// later answer of another version is DataLoss. Proxies of the environment (http_proxy, https_proxy, no_proxy) are
// honoured, except for loopback. InvalidArgument: no http(s) URL. NotFound, PermissionDenied: so says the server.
// FailedPrecondition: the server ignores ranges. Unavailable: no useful answer after all attempts.
absl::StatusOr<std::unique_ptr<Store>> OpenHttpStore(std::string_view url, HttpStoreOptions options = {});

}  // namespace barn
