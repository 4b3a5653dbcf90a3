#pragma once

#include <optional>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/api_context.h"
#include "coordinator/http/directory_routes.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/model_directory.h"
#include "coordinator/http/model_wish.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// What each path does; knows nothing of sockets. Thread-safe. Never throws: what goes wrong is a reply.
class Api {
 public:
  // `engine`, `models`, `metrics` and `gate` must outlive this. Without a gate nobody needs a key.
  Api(ServedModel model, const Engine& engine, const HttpMetrics& metrics, AccessGate* gate = nullptr);
  // Several models: requests name one of them.
  Api(ModelDirectory& models, const HttpMetrics& metrics, AccessGate* gate = nullptr);

  // Whether the request may be made, by its header; fills in who makes it. The reply that refuses it otherwise.
  std::optional<HttpReply> Admit(HttpRequest& request) const;

  // Checks the request in full, up to the tokens of its prompts. The request is worth its time: a long body should come
  // from a thread that nobody waits for.
  // `lease`: what Wish() asked for.
  RouteResult Handle(const HttpRequest& request, const ModelLease* lease = nullptr) const;
  // The same, but an error stays one.
  RouteResult Try(const HttpRequest& request, const ModelLease* lease) const;

  // Of several models the one that the request needs before it can be handled; nothing: none. 400: it names none.
  std::variant<ApiError, std::optional<ModelWish>> Wish(const HttpRequest& request) const;
  // Null where one model is served.
  ModelDirectory* models() const { return models_; }

  // Where one model is served.
  const std::string& model_id() const { return model_->id; }

  // Waits for workers: a thread of its own is due.
  static bool TakesLong(const HttpRequest& request);
  // What waits in Handle gives up.
  void Close() const;

  // The path as a label for metrics: one of a few.
  std::string RouteLabel(absl::string_view path) const;

 private:
  RouteResult Route(const HttpRequest& request, const ModelLease* lease) const;
  // Of the method if there is one, else of another; null: the path is not of those.
  const DirectoryRoute* FindDirectoryRoute(absl::string_view label, absl::string_view method) const;

  // One model, or else models_.
  const std::optional<ServedModel> model_;
  const std::optional<ApiContext> context_;
  AccessGate* const gate_;
  const HttpMetrics& metrics_;
  ModelDirectory* const models_ = nullptr;
};

}  // namespace barn
