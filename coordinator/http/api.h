#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/api_context.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// What each path does; knows nothing of sockets. Thread-safe. Never throws: what goes wrong is a reply.
class Api {
 public:
  // `engine`, `metrics` and `gate` must outlive this. Without a gate nobody needs a key.
  Api(ServedModel model, const Engine& engine, const HttpMetrics& metrics, AccessGate* gate = nullptr);

  // Whether the request may be made, by its header; fills in who makes it. The reply that refuses it otherwise.
  std::optional<HttpReply> Admit(HttpRequest& request) const;

  // Checks the request in full, up to the tokens of its prompts. The request is worth its time: a long body should come
  // from a thread that nobody waits for.
  RouteResult Handle(const HttpRequest& request) const;

  const std::string& model_id() const { return model_.id; }

  // Waits for workers: a thread of its own is due.
  static bool TakesLong(const HttpRequest& request);
  // What waits in Handle gives up.
  void Close() const;

  // The path as a label for metrics: one of a few.
  std::string RouteLabel(absl::string_view path) const;

 private:
  RouteResult Route(const HttpRequest& request) const;

  const ServedModel model_;
  const Engine& engine_;
  const HttpMetrics& metrics_;
  const ApiContext context_;
};

}  // namespace barn
