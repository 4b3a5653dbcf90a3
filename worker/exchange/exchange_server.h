#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/exchange/frame_router.h"

namespace barn {

// Serves proto/exchange.proto: frames of the stage before, checked, go to the queue of their epoch. Thread-safe.
class ExchangeServer {
 public:
  // Listens on listen_address (host:port, port 0 for a free one) at once, but refuses every stream that does not bring,
  // in the metadata "barn-token", the token of an epoch of the router. Unavailable: the port is taken. `router` must
  // outlive the server.
  static absl::StatusOr<std::unique_ptr<ExchangeServer>> Start(const std::string& listen_address, FrameRouter& router);
  virtual ~ExchangeServer() = default;

  virtual int port() const = 0;
};

}  // namespace barn
