#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace barn {

// Rules that every gRPC connection of a worker shares. Until TLS arrives, connections are plain text: between machines
// they need a token at least, and a network that the user trusts.

// True for host:port with localhost, 127.x.x.x or [::1].
bool IsLoopbackAddress(const std::string& address);

// InvalidArgument: the token holds anything but visible ASCII, which metadata cannot carry. FailedPrecondition: the
// address leaves this machine and the token is empty. `verb`: "listen on" or "dial", for the message.
absl::Status CheckLink(const std::string& verb, const std::string& address, const std::string& token);

// How often an idle connection is probed. A probe, or any data, that is not acknowledged within 10 s ends it.
inline constexpr int kExchangeKeepaliveMs = 20000;

// Plain credentials, no HTTP proxy for loopback. Connects by itself, again and again.
std::shared_ptr<grpc::Channel> DialLink(const std::string& address, int keepalive_ms);

// Keepalive and a port that no second process can share.
void ConfigureServer(grpc::ServerBuilder& builder);

absl::Status FromGrpc(const grpc::Status& status);

// The address of this machine on its way to `remote` (host:port), without sending anything. Empty: no route.
std::string LocalHostTowards(const std::string& remote);

}  // namespace barn
