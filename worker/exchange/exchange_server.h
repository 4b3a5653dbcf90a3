#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/exchange/frame_queue.h"

namespace barn {

// Bytes of activations in the largest frame that any plan may use.
inline constexpr int64_t kFrameBytesMax = int64_t{256} << 20;

// Serves proto/exchange.proto: frames of the stage before, checked, go to a queue. Thread-safe.
class ExchangeServer {
 public:
  // Listens on listen_address (host:port, port 0 for a free one) at once, but refuses every stream until an epoch
  // begins. Unavailable: the port is taken. `queue` must outlive the server.
  static absl::StatusOr<std::unique_ptr<ExchangeServer>> Start(const std::string& listen_address, FrameQueue& queue);
  virtual ~ExchangeServer() = default;

  // Streams must bring `token` in the metadata "barn-token". InvalidArgument: frames could exceed kFrameBytesMax.
  virtual absl::Status BeginEpoch(const HopEpoch& epoch, const std::string& token) = 0;

  virtual int port() const = 0;
};

}  // namespace barn
