#include "coordinator/cli/http_settings.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/accounts/key_store.h"
#include "coordinator/cli/options.h"
#include "coordinator/http/shared_fields.h"
#include "proto/base/status.h"

namespace barn {
namespace {

absl::Status SplitAddress(const std::string& address, HttpOptions& http) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrFormat("--listen %s is not ADDR:PORT", address));
  }
  http.host = address.substr(0, colon);
  http.port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

}  // namespace

void AddHttpOptions(CLI::App* command, HttpSettings& settings) {
  command->add_option("--listen", settings.listen, "ADDR:PORT for HTTP")->envname("BARN_LISTEN")->capture_default_str();
  AddKeysFile(command, settings.keys);
  command->add_flag("--require-keys", settings.require_keys, "Answer only who has a key (implied by --keys)")
      ->envname("BARN_REQUIRE_KEYS");
  command
      ->add_option("--cors", settings.cors_origins,
                   "Origins whose pages may ask, as https://chat.example.org, separated by commas; * for all")
      ->envname("BARN_CORS")
      ->delimiter(',');
  command
      ->add_option("--tls-cert", settings.tls_certificate,
                   "PEM file of the certificate chain: HTTPS, read again when it changes")
      ->envname("BARN_TLS_CERT");
  command->add_option("--tls-key", settings.tls_key, "PEM file of its private key")->envname("BARN_TLS_KEY");
  command
      ->add_option("--otlp-endpoint", settings.otlp_endpoint,
                   "URL of a trace collector (http://host:4318): a span for every request, as OTLP/HTTP JSON")
      ->envname("BARN_OTLP_ENDPOINT");
  command
      ->add_option("--reasoning-budget", settings.reasoning.tokens,
                   "Tokens that an answer may think, where its request names no number; -1: as many as it likes")
      ->envname("BARN_REASONING_BUDGET")
      ->check(CLI::Range(int64_t{-1}, kMaxTokensMax))
      ->capture_default_str();
  command
      ->add_option("--reasoning-budget-message", settings.reasoning.message,
                   "Last thought of an answer that has used up its budget, as \"Enough, I answer now.\"")
      ->envname("BARN_REASONING_BUDGET_MESSAGE");
  command->add_flag("--log-requests", settings.log_requests, "A line in the log for every request")
      ->envname("BARN_LOG_REQUESTS");
}

absl::StatusOr<std::unique_ptr<AccessGate>> OpenGate(const HttpSettings& settings) {
  if (!settings.wants_keys()) return nullptr;
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<KeyStore> store,
                        KeyStore::Open(settings.keys.empty() ? DefaultKeysPath() : settings.keys));
  return AccessGate::Create(std::move(store), absl::Now());
}

absl::StatusOr<HttpOptions> ToHttpOptions(const HttpSettings& settings, AccessGate* gate) {
  HttpOptions http;
  BARN_RETURN_IF_ERROR(SplitAddress(settings.listen, http));
  if (settings.tls_certificate.empty() != settings.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key belong together");
  }
  http.gate = gate;
  http.cors_origins = settings.cors_origins;
  http.tls_certificate = settings.tls_certificate;
  http.tls_key = settings.tls_key;
  http.otlp_endpoint = settings.otlp_endpoint;
  http.log_requests = settings.log_requests;
  return http;
}

}  // namespace barn
