#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/http/http_options.h"
#include "coordinator/http/model_directory.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// The HTTP front end: OpenAI dialect, /health, /ready and /metrics (see README.md). Thread-safe.
class HttpServer {
 public:
  // Listens when it returns. The tokenizer of `model` and `engine` must outlive the server; the engine may still call
  // back for old requests afterwards. AlreadyExists: the port is in use. InvalidArgument: the host is no address of
  // this machine.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(HttpOptions options, ServedModel model, Engine& engine);

  // The same for several models. `models` must outlive the server.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(HttpOptions options, ModelDirectory& models);

  // Stops at once.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens.
  uint16_t port() const;

  // Takes no new connections, lets running answers finish for at most `grace`, then cancels the rest. Later calls do
  // nothing.
  void Stop(absl::Duration grace = absl::ZeroDuration());

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace barn
