#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/http/request_parser.h"

namespace barn {

class AccessGate;

struct HttpOptions {
  std::string host = "127.0.0.1";  // An address, or a name that resolves to one.
  uint16_t port = 8080;            // 0: any free one, see HttpServer::port().
  int threads = 2;                 // Each serves its own share of the connections.

  RequestLimits limits = {};
  int64_t connections_max = 10'000;
  int64_t body_bytes_total_max = int64_t{256} << 20;  // Over all requests that are being read or parsed.

  AccessGate* gate = nullptr;                  // Outlives the server. Null: nobody needs a key.
  std::vector<std::string> cors_origins = {};  // See CorsHeaders().
  // PEM files; both or none. They are read again when they change.
  std::string tls_certificate = {};
  std::string tls_key = {};
  std::string otlp_endpoint = {};  // Of a trace collector, see TraceExport; empty: spans go nowhere.
  bool log_requests = false;       // One line for each; refusals and failures are told in any case.

  absl::Duration idle_timeout = absl::Seconds(75);         // Between requests of one connection.
  absl::Duration header_timeout = absl::Seconds(10);       // From the first byte to the end of the header.
  absl::Duration body_timeout = absl::Seconds(60);         // For the whole body.
  absl::Duration write_timeout = absl::Seconds(30);        // For a client to take what it was sent.
  absl::Duration keep_alive_interval = absl::Seconds(10);  // Comments in a stream that has nothing to say.
};

}  // namespace barn
