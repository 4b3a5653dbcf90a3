#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/reply_head.h"
#include "coordinator/http/session.h"

// The part of a session that waits for its model to be loaded.

namespace barn {
namespace {

namespace net = boost::asio;

// Most models are there; only when this has passed the request is looked at, and its client told.
constexpr auto kPatience = std::chrono::milliseconds(50);
constexpr auto kProgressEvery = std::chrono::seconds(1);

using Lease = std::shared_ptr<const ModelLease>;

// What a directory says from a thread of its own. Thread-safe.
class PendingLease {
 public:
  void Set(absl::StatusOr<Lease> lease) {
    absl::MutexLock lock(&mutex_);
    lease_ = std::move(lease);
    done_ = true;
  }
  bool done() {
    absl::MutexLock lock(&mutex_);
    return done_;
  }
  absl::StatusOr<Lease> Take() {
    absl::MutexLock lock(&mutex_);
    return std::move(lease_);
  }

 private:
  absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusOr<Lease> lease_ ABSL_GUARDED_BY(mutex_) = absl::UnknownError("not there yet");
};

// Why there is no model. What the client can do nothing about is the server's failure, whatever it was for the engine.
ApiError LoadError(const absl::Status& status, const ModelWish& wish, Dialect dialect) {
  ApiError error;
  // A model that is there may be a file that makes no sense or that this server may not read.
  const bool of_request =
      !wish.from.empty() || absl::IsNotFound(status) || absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status);
  switch (of_request ? status.code() : absl::StatusCode::kInternal) {
    case absl::StatusCode::kNotFound:
      error = ModelNotFound(wish.from.empty() ? wish.name : wish.from);
      if (dialect == Dialect::kOllama) error.message = absl::StrCat("model '", wish.name, "' not found");
      if (!wish.from.empty()) error.message = std::string(status.message());
      return error;
    case absl::StatusCode::kDeadlineExceeded:
      error = FromStatus(absl::UnavailableError(status.message()));
      error.code = "model_loading";
      return error;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnavailable:
      return FromStatus(status);
    default:
      error = FromStatus(
          absl::InternalError(absl::StrCat("the model '", wish.name, "' cannot be loaded: ", status.message())));
      error.code = "model_not_loadable";
      return error;
  }
}

}  // namespace

net::awaitable<std::shared_ptr<const ModelLease>> Session::AwaitModel(const HttpRequest& request, ModelWish wish,
                                                                      FirstLook& look) {
  ModelDirectory& models = *context_.api.models();
  const auto pending = std::make_shared<PendingLease>();
  std::shared_ptr<void> ticket = models.Acquire(
      wish, [pending, executor = io_.get_executor(), weak = weak_from_this()](absl::StatusOr<Lease> lease) {
        pending->Set(std::move(lease));
        net::post(executor, [weak] {
          if (const std::shared_ptr<Session> self = weak.lock()) self->signal_.Set();
        });
      });
  StartWatch();
  auto next = std::chrono::steady_clock::now() + kPatience;
  bool looked = !wish.load || !wish.look, replied = false;
  while (!gone_ && !pending->done()) {
    co_await signal_.Wait(next);
    if (gone_ || pending->done() || std::chrono::steady_clock::now() < next) continue;
    next = std::chrono::steady_clock::now() + kProgressEvery;
    if (!looked) look.model = models.Peek(wish.name);
    if (!looked && look.model != nullptr) {
      looked = true;
      RouteResult result = co_await Handle(request, look.model.get());
      if (auto* error = std::get_if<ApiError>(&result)) {
        HttpReply reply = ErrorReply(*error, DialectOf(request.path));
        co_await WriteReply(std::move(reply));
        replied = true;
        break;
      }
      if (auto* job = std::get_if<GenerationJob>(&result)) look.answer = std::move(job->answer);
    }
    if (look.answer != nullptr && look.answer->streams() && look.answer->StreamType() == "text/event-stream") {
      co_await TellProgress(wish, *look.answer);
    }
  }
  if (gone_) {
    Trace(499);  // As in Generate.
    ++context_.metrics.clients_gone;
    keep_alive_ = false;
  }
  absl::StatusOr<Lease> lease = pending->Take();
  ticket.reset();
  co_await StopWatch();
  if (gone_ || replied) co_return nullptr;
  if (lease.ok() && wish.unload) models.Unload(wish.name).IgnoreError();
  if (lease.ok()) co_return *std::move(lease);
  ApiError error = LoadError(lease.status(), wish, DialectOf(request.path));
  if (look.answer != nullptr) {
    co_await FailAnswer(*look.answer, std::move(error));
  } else {
    co_await WriteError(std::move(error));
  }
  co_return nullptr;
}

net::awaitable<void> Session::TellProgress(const ModelWish& wish, const Answer& answer) {
  const std::optional<ListedModel> listed = context_.api.models()->Find(wish.name);
  std::string text = listed.has_value() ? LoadProgressText(listed->standing) : "loading";
  // A comment of one line, whatever workers have said.
  text = absl::StrCat(": ", absl::StrReplaceAll(text, {{"\n", " "}, {"\r", " "}}), "\n\n");
  std::string wire = stream_begun_ ? "" : StreamHead(answer);
  stream_begun_ = true;
  wire += http_1_0_ ? text : Chunk(text);
  co_await Write(std::move(wire));
}

}  // namespace barn
