#pragma once

#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <memory>
#include <optional>
#include <string>

#include "coordinator/http/answer.h"
#include "coordinator/http/api.h"
#include "coordinator/http/client_stream.h"
#include "coordinator/http/cors.h"
#include "coordinator/http/generation.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/http_options.h"
#include "coordinator/http/request_meter.h"
#include "coordinator/http/signal.h"
#include "coordinator/http/trace_export.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// What all sessions of a server share. Everything outlives them.
struct SessionContext {
  const HttpOptions& options;
  const Api& api;
  Engine* engine;  // Null where there are several models.
  HttpMetrics& metrics;
  TraceExport* traces;                   // Null: spans go nowhere.
  boost::asio::thread_pool& parse_pool;  // Parses and tokenizes long bodies, so that streams do not stutter.
  boost::asio::thread_pool& wait_pool;   // For what waits for workers.
};

// One connection: reads requests one after another and answers them. All calls on the thread of its io_context.
class Session : public std::enable_shared_from_this<Session> {
 public:
  // `tls`: how the connection is encrypted; null: not at all.
  Session(boost::asio::ip::tcp::socket socket, boost::asio::io_context& io, const SessionContext& context,
          std::shared_ptr<boost::asio::ssl::context> tls = nullptr);
  ~Session();

  // Ends when the connection does.
  boost::asio::awaitable<void> Run();

  // Lets the current answer finish, then closes.
  void StopSoon();
  // Closes now; a running generation is cancelled.
  void Abort();

 private:
  // The next request, or nothing when the connection shall close. Writes the reply to a request that cannot be read.
  boost::asio::awaitable<std::optional<HttpRequest>> Read();
  boost::asio::awaitable<std::optional<std::string>> ReadBody(RequestParser& parser);
  boost::asio::awaitable<void> RefuseUnreadable(boost::system::error_code error);
  boost::asio::awaitable<void> Respond(HttpRequest request);
  // A look at a request whose model is not loaded yet: whether it makes sense, and in which words it is answered.
  struct FirstLook {
    std::shared_ptr<const ModelLease> model;
    std::unique_ptr<Answer> answer;
  };
  // On the thread for long bodies if it is long, on another if it waits for workers.
  boost::asio::awaitable<RouteResult> Handle(const HttpRequest& request, const ModelLease* lease);
  // Of several models the one that the request is about, once it is as the wish wants it; null: the reply was sent, or
  // the client has left. A stream hears meanwhile how far it is.
  boost::asio::awaitable<std::shared_ptr<const ModelLease>> AwaitModel(const HttpRequest& request, ModelWish wish,
                                                                       FirstLook& look);
  boost::asio::awaitable<void> TellProgress(const ModelWish& wish, const Answer& answer);
  // The end of an answer that failed before it began, or of one whose head is sent.
  boost::asio::awaitable<void> FailAnswer(const Answer& answer, ApiError error);
  boost::asio::awaitable<void> Generate(GenerationJob job, std::shared_ptr<const Account> account,
                                        std::shared_ptr<const ModelLease> lease);
  boost::asio::awaitable<void> Stream(Answer& answer, Generation& generation);
  std::string StreamHead(const Answer& answer);
  boost::asio::awaitable<void> AnswerWhole(Answer& answer, Generation& generation);
  boost::asio::awaitable<void> WriteReply(HttpReply reply);
  boost::asio::awaitable<void> WriteError(ApiError error);
  boost::asio::awaitable<bool> Write(std::string bytes);
  boost::asio::awaitable<void> CloseGently();

  // Feeds what has come from the engine to the answer; returns the bytes to send.
  std::string Drain(Answer& answer, Generation& generation);

  // What every reply to this request says.
  void BeginReplies(HttpRequest& request);
  void LogReply(int status);
  void Trace(int status);  // Once for each request.

  // While an answer is made, something must read, or a client that leaves goes unnoticed. Pipelined bytes are kept.
  boost::asio::awaitable<void> Watch();
  void ReleaseBody();
  void StartWatch();
  boost::asio::awaitable<void> StopWatch();

  const SessionContext& context_;
  boost::asio::io_context& io_;
  ClientStream stream_;
  boost::beast::flat_buffer buffer_;  // Read but not parsed yet.
  Signal signal_;
  std::string client_;                 // Its address.
  HeaderList reply_headers_;           // Of all replies to the current request.
  std::string log_id_;                 // The current request in the log: its id, who asks, and its trace.
  std::string request_id_;             // Of the current request.
  std::string traceparent_;            // The same; W3C Trace Context, or empty.
  bool traced_ = false;                // The current request has its span.
  absl::Time began_;                   // When the header of the current request was there.
  std::optional<HttpReply> refusal_;   // Of the current request.
  std::optional<RequestMeter> meter_;  // While it generates.
  std::string route_;                  // Label of the current request for the metrics.
  bool head_only_ = false;             // Of the current request: its reply has no body.
  bool stream_begun_ = false;          // Of the current request: the head of its stream is sent.
  bool http_1_0_ = false;              // Of the current request: no chunks.
  bool keep_alive_ = true;
  int64_t body_leased_ = 0;  // Bytes of this session in metrics.body_bytes.
  bool idle_ = false;        // Waits for the first byte of a request.
  bool watching_ = false;    // Watch() shall go on.
  bool watch_runs_ = false;
  bool gone_ = false;     // The client has left.
  bool refused_ = false;  // The last request was answered before it was read to its end.
};

}  // namespace barn
