#include <chrono>

#include <boost/asio/post.hpp>

#include "absl/time/clock.h"
#include "coordinator/http/reply_head.h"
#include "coordinator/http/session.h"

// The part of a session that waits for the engine.

namespace barn {
namespace {

namespace net = boost::asio;

// Adds one to a gauge for its lifetime.
class Gauge {
 public:
  explicit Gauge(std::atomic<int64_t>& value) : value_(value) { ++value_; }
  ~Gauge() { --value_; }
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;

 private:
  std::atomic<int64_t>& value_;
};

}  // namespace

net::awaitable<void> Session::Generate(GenerationJob job, std::shared_ptr<const Account> account,
                                       std::shared_ptr<const ModelLease> lease) {
  if (job.model.empty()) job.model = lease == nullptr ? context_.api.model_id() : lease->model().id;
  RequestMeter& meter = meter_.emplace(RequestMeter::Options{.metrics = context_.metrics,
                                                             .gate = context_.options.gate,
                                                             .account = std::move(account),
                                                             .model = job.model},
                                       absl::Now());
  const auto end_meter = [this](RequestMeter*) { meter_.reset(); };
  const std::unique_ptr<RequestMeter, decltype(end_meter)> ends(&meter, end_meter);
  Engine& engine = lease == nullptr ? *context_.engine : lease->engine();
  Generation generation(engine, [executor = io_.get_executor(), weak = weak_from_this()] {
    net::post(executor, [weak] {
      if (const std::shared_ptr<Session> self = weak.lock()) self->signal_.Set();
    });
  });
  meter.Ask(job.requests);
  if (absl::Status status = generation.Start(std::move(job.requests), job.at_once); !status.ok()) {
    ApiError error = FromStatus(status);
    co_await FailAnswer(*job.answer, std::move(error));
    co_return;
  }
  meter.Accepted(absl::Now());
  StartWatch();
  if (job.answer->streams()) {
    co_await Stream(*job.answer, generation);
  } else {
    co_await AnswerWhole(*job.answer, generation);
  }
  if (gone_) {
    constexpr int kClientClosedRequest = 499;  // As proxies call it; nobody is there to be told.
    Trace(kClientClosedRequest);
    ++context_.metrics.clients_gone;
    keep_alive_ = false;
  }
  co_await StopWatch();
}

std::string Session::Drain(Answer& answer, Generation& generation) {
  std::string bytes;
  const absl::Time now = absl::Now();
  for (const ChoiceUpdate& update : generation.Take()) {
    meter_->OnUpdate(update, now);
    bytes += answer.Add(update);
    if (!answer.done(update.choice)) continue;
    meter_->Done(update.choice);
    generation.Cancel(update.choice);
  }
  return bytes;
}

net::awaitable<void> Session::AnswerWhole(Answer& answer, Generation& generation) {
  Drain(answer, generation);
  while (!answer.done() && !gone_) {
    co_await signal_.Wait(std::chrono::steady_clock::time_point::max());
    Drain(answer, generation);
  }
  if (gone_) co_return;
  if (answer.error() != nullptr) {
    co_await WriteError(*answer.error());
  } else {
    HttpReply reply;
    reply.body = answer.End();
    co_await WriteReply(std::move(reply));
  }
}

net::awaitable<void> Session::FailAnswer(const Answer& answer, ApiError error) {
  if (!stream_begun_) {
    co_await WriteError(std::move(error));
    co_return;
  }
  std::string wire = http_1_0_ ? answer.Failure(error) : Chunk(answer.Failure(error)) + "0\r\n\r\n";
  LogReply(200);
  co_await Write(std::move(wire));
}

net::awaitable<void> Session::Stream(Answer& answer, Generation& generation) {
  const Gauge open(context_.metrics.streams);
  const auto silence_max = absl::ToChronoNanoseconds(context_.options.keep_alive_interval);
  bool& started = stream_begun_;
  while (!gone_) {
    std::string bytes = Drain(answer, generation);
    // An error before the first token is still an ordinary reply with its own status.
    if (!started && answer.error() != nullptr) {
      co_await WriteError(*answer.error());
      co_return;
    }
    const bool end = answer.done();
    if (end) bytes += answer.error() != nullptr ? answer.Failure(*answer.error()) : answer.End();
    if (!bytes.empty()) {
      std::string wire = started ? "" : StreamHead(answer);
      started = true;
      wire += http_1_0_ ? bytes : Chunk(bytes);
      if (end && !http_1_0_) wire += "0\r\n\r\n";
      if (end) LogReply(200);
      if (!co_await Write(std::move(wire)) || end) co_return;
    }
    const auto until = std::chrono::steady_clock::now() + silence_max;
    co_await signal_.Wait(until);
    if (!gone_ && std::chrono::steady_clock::now() >= until) {
      std::string wire = started ? "" : StreamHead(answer);
      started = true;
      wire += http_1_0_ ? answer.KeepAlive() : Chunk(answer.KeepAlive());
      co_await Write(std::move(wire));
    }
  }
}

std::string Session::StreamHead(const Answer& answer) {
  context_.metrics.CountRequest(route_, 200);
  if (http_1_0_) keep_alive_ = false;
  std::vector<std::pair<std::string, std::string>> headers = {
      {"Content-Type", std::string(answer.StreamType())},
      {"Cache-Control", "no-cache"},
      {"X-Accel-Buffering", "no"},  // Or nginx collects the events.
      {"Connection", keep_alive_ ? "keep-alive" : "close"},
  };
  if (!http_1_0_) headers.emplace_back("Transfer-Encoding", "chunked");
  headers.insert(headers.end(), reply_headers_.begin(), reply_headers_.end());
  return ReplyHead(200, absl::Now(), headers);
}

}  // namespace barn
