#include "coordinator/cluster/listen_address.h"

#include <charconv>
#include <string>

#include "absl/strings/str_format.h"
#include "proto/base/trust.h"

namespace barn {
namespace {

bool IsPort(std::string_view text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 0 && port <= 65535;
}

}  // namespace

absl::Status CheckListenAddress(std::string_view address, bool has_token) {
  if (address.substr(0, 5) == "unix:") return absl::OkStatus();
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || !IsPort(address.substr(colon + 1))) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the cluster address '%s' is not HOST:PORT", std::string(address)));
  }
  if (has_token || IsLoopbackHost(address.substr(0, colon))) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "the cluster address %s can be reached from other machines: that needs a token", std::string(address)));
}

}  // namespace barn
