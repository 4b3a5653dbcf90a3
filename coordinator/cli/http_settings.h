#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/http_options.h"
#include "coordinator/http/served_model.h"

namespace barn {

// How a server meets its clients: `barn up` and `barn serve`.
struct HttpSettings {
  std::string listen = "127.0.0.1:8080";
  std::string keys;  // A file; empty: the default one.
  bool require_keys = false;
  std::vector<std::string> cors_origins;
  std::string tls_certificate;
  std::string tls_key;
  std::string otlp_endpoint;
  bool log_requests = false;
  ReasoningBudget reasoning;

  // A file of keys is named for no other reason.
  bool wants_keys() const { return require_keys || !keys.empty(); }
};

void AddHttpOptions(CLI::App* command, HttpSettings& settings);

// Who may come in; null when nobody needs a key. FailedPrecondition: the file of keys cannot be used.
absl::StatusOr<std::unique_ptr<AccessGate>> OpenGate(const HttpSettings& settings);

// InvalidArgument: the address, or one TLS file without the other.
absl::StatusOr<HttpOptions> ToHttpOptions(const HttpSettings& settings, AccessGate* gate);

}  // namespace barn
