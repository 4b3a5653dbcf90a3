#include "worker/exchange/link.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/str_format.h"
#include "proto/base/trust.h"

namespace barn {
namespace {

constexpr int kKeepaliveTimeoutMs = 10000;

// The host of host:port, without the brackets of IPv6.
std::string HostOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return host;
}

}  // namespace

bool IsLoopbackAddress(const std::string& address) { return IsLoopbackHost(HostOf(address)); }

absl::Status CheckLink(const std::string& verb, const std::string& address, const std::string& token) {
  const bool visible = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!visible) {
    return absl::InvalidArgumentError("the token holds characters other than visible ASCII");
  }
  if (token.empty() && !IsLoopbackAddress(address)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "refusing to %s %s without a token: it is not a loopback address (connections are not encrypted "
        "yet, so use a token and a network that you trust)",
        verb, address));
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::Channel> DialLink(const std::string& address, int keepalive_ms) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Without this, two channels to one address share a connection, and its flow control.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  if (IsLoopbackAddress(address)) {
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  }
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void ConfigureServer(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kExchangeKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kExchangeKeepaliveMs / 2);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::string LocalHostTowards(const std::string& remote) {
  const std::string host = HostOf(remote);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), "9", &hints, &found) != 0) {
    return "";
  }
  std::string local;
  const int socket_file = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage name = {};
  socklen_t length = sizeof(name);
  std::array<char, NI_MAXHOST> text;
  // Connecting a datagram socket only chooses the route.
  if (socket_file >= 0 && connect(socket_file, found->ai_addr, found->ai_addrlen) == 0 &&
      getsockname(socket_file, reinterpret_cast<sockaddr*>(&name), &length) == 0 &&
      getnameinfo(reinterpret_cast<sockaddr*>(&name), length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) ==
          0) {
    local = text.data();
    if (local.find(':') != std::string::npos) {
      local = "[" + local + "]";
    }
  }
  if (socket_file >= 0) {
    close(socket_file);
  }
  freeaddrinfo(found);
  return local;
}

}  // namespace barn
