#include "coordinator/http/session.h"

#include <chrono>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/read.hpp>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/reply_head.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadBytes = 16 * 1024;
// A client may send its next requests early, but not fill memory with them.
constexpr size_t kPipelinedBytesMax = 64 * 1024;
// Below this, parsing takes less than a switch of threads costs.
constexpr size_t kParseHereBytesMax = 16 * 1024;
constexpr int64_t kLingerBytesMax = int64_t{64} << 20;
constexpr auto kLinger = std::chrono::seconds(2);

auto Into(error_code& error) { return net::redirect_error(net::use_awaitable, error); }

// Unique enough to find one request in the logs of a day.
std::string NewRequestId() {
  thread_local absl::BitGen random;
  return absl::StrCat("req-", absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

std::chrono::steady_clock::duration Chrono(absl::Duration duration) { return absl::ToChronoNanoseconds(duration); }

}  // namespace

Session::Session(net::ip::tcp::socket socket, net::io_context& io, const SessionContext& context,
                 std::shared_ptr<net::ssl::context> tls)
    : context_(context), io_(io), stream_(std::move(socket), std::move(tls)), signal_(io) {
  error_code ignored;
  const auto address = stream_.socket().remote_endpoint(ignored).address();
  client_ = address.to_string(ignored);
}

Session::~Session() { ReleaseBody(); }

net::awaitable<void> Session::Run() {
  const std::shared_ptr<Session> self = shared_from_this();
  stream_.expires_after(Chrono(context_.options.header_timeout));
  if (co_await stream_.Handshake()) co_return;
  while (keep_alive_) {
    std::optional<HttpRequest> request = co_await Read();
    if (!request.has_value()) break;
    co_await Respond(std::move(*request));
  }
  co_await CloseGently();
}

void Session::StopSoon() {
  keep_alive_ = false;
  if (idle_) stream_.cancel();
}

void Session::Abort() {
  keep_alive_ = false;
  gone_ = true;
  error_code ignored;
  stream_.socket().close(ignored);
  signal_.Set();
}

net::awaitable<std::optional<HttpRequest>> Session::Read() {
  error_code error;
  if (buffer_.size() == 0) {
    idle_ = true;
    stream_.expires_after(Chrono(context_.options.idle_timeout));
    const size_t count = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), Into(error));
    idle_ = false;
    if (error || !keep_alive_) co_return std::nullopt;
    buffer_.commit(count);
  }
  RequestParser parser;
  ApplyLimits(context_.options.limits, parser);
  route_ = "other";
  reply_headers_.clear();
  stream_begun_ = false;
  log_id_.clear();
  traceparent_.clear();
  traced_ = false;
  began_ = absl::Now();
  refusal_.reset();
  stream_.expires_after(Chrono(context_.options.header_timeout));
  co_await http::async_read_header(stream_, buffer_, parser, Into(error));
  head_only_ = false;
  http_1_0_ = parser.is_header_done() && parser.get().version() < 11;
  if (error) {
    co_await RefuseUnreadable(error);
    co_return std::nullopt;
  }
  HttpRequest request = RequestHead(parser);
  head_only_ = request.method == "HEAD";
  route_ = context_.api.RouteLabel(request.path);
  keep_alive_ = keep_alive_ && parser.keep_alive();
  BeginReplies(request);
  if (!IsPreflight(request)) refusal_ = context_.api.Admit(request);
  if (request.account != nullptr) absl::StrAppend(&log_id_, " key=", request.account->name);
  // Who may not ask is not read to the end; a short body is, so that the connection lives on.
  if (refusal_.has_value() && parser.content_length().value_or(kParseHereBytesMax + 1) > kParseHereBytesMax &&
      !parser.is_done()) {
    keep_alive_ = false;
    refused_ = true;
    HttpReply reply = *std::move(refusal_);
    co_await WriteReply(std::move(reply));
    co_return std::nullopt;
  }
  if (absl::EqualsIgnoreCase(std::string(parser.get()[http::field::expect]), "100-continue")) {
    if (!co_await Write("HTTP/1.1 100 Continue\r\n\r\n")) co_return std::nullopt;
  }
  std::optional<std::string> body = co_await ReadBody(parser);
  if (!body.has_value()) co_return std::nullopt;
  request.body = std::move(*body);
  co_return request;
}

net::awaitable<std::optional<std::string>> Session::ReadBody(RequestParser& parser) {
  std::string body;
  std::vector<char> part(kReadBytes);
  stream_.expires_after(Chrono(context_.options.body_timeout));
  while (!parser.is_done()) {
    parser.get().body().data = part.data();
    parser.get().body().size = part.size();
    error_code error;
    co_await http::async_read(stream_, buffer_, parser, Into(error));
    if (error && error != http::error::need_buffer) {
      co_await RefuseUnreadable(error);
      co_return std::nullopt;
    }
    const size_t count = part.size() - parser.get().body().size;
    body.append(part.data(), count);
    body_leased_ += static_cast<int64_t>(count);
    if ((context_.metrics.body_bytes += static_cast<int64_t>(count)) > context_.options.body_bytes_total_max) {
      keep_alive_ = false;
      refused_ = true;
      ApiError busy = FromStatus(absl::ResourceExhaustedError("too many large requests at once; try again"));
      co_await WriteError(std::move(busy));
      co_return std::nullopt;
    }
  }
  co_return body;
}

net::awaitable<void> Session::RefuseUnreadable(error_code error) {
  keep_alive_ = false;
  refused_ = true;
  const bool grammar = error.category() == http::make_error_code(http::error::bad_method).category();
  const bool left = error == http::error::end_of_stream || error == http::error::partial_message;
  if (grammar && !left) co_await WriteError(FromParseError(error, context_.options.limits));
}

net::awaitable<void> Session::Respond(HttpRequest request) {
  if (refusal_.has_value() || IsPreflight(request)) {
    ReleaseBody();
    // In a variable: g++ 12 destroys a temporary of ?: in a co_await twice.
    HttpReply reply;
    if (refusal_.has_value()) {
      reply = *std::move(refusal_);
    } else {
      reply = PreflightReply(request);
    }
    co_await WriteReply(std::move(reply));
    co_return;
  }
  std::shared_ptr<const ModelLease> lease;
  FirstLook look;
  std::variant<ApiError, std::optional<ModelWish>> wish = context_.api.Wish(request);
  if (std::holds_alternative<ApiError>(wish)) {
    ReleaseBody();
    ApiError error = std::get<ApiError>(std::move(wish));
    co_await WriteError(std::move(error));
    co_return;
  }
  if (auto& wanted = std::get<std::optional<ModelWish>>(wish); wanted.has_value()) {
    lease = co_await AwaitModel(request, *std::move(wanted), look);
    if (lease == nullptr) {
      ReleaseBody();
      co_return;
    }
  }
  RouteResult result = co_await Handle(request, lease.get());
  std::shared_ptr<const Account> account = std::move(request.account);
  const Dialect dialect = DialectOf(request.path);
  request = {};
  ReleaseBody();
  if (std::holds_alternative<HttpReply>(result)) {
    co_await WriteReply(std::move(std::get<HttpReply>(result)));
  } else if (std::holds_alternative<GenerationJob>(result)) {
    co_await Generate(std::move(std::get<GenerationJob>(result)), std::move(account), std::move(lease));
  } else if (ApiError error = std::get<ApiError>(std::move(result)); stream_begun_) {
    co_await FailAnswer(*look.answer, std::move(error));
  } else {
    HttpReply reply = ErrorReply(error, dialect);
    co_await WriteReply(std::move(reply));
  }
}

net::awaitable<RouteResult> Session::Handle(const HttpRequest& request, const ModelLease* lease) {
  const bool takes_long = Api::TakesLong(request);
  if (request.body.size() <= kParseHereBytesMax && !takes_long) co_return context_.api.Try(request, lease);
  RouteResult result;
  const auto handle = [this, &request, lease, &result]() -> net::awaitable<void> {
    result = context_.api.Try(request, lease);
    co_return;
  };
  boost::asio::thread_pool& pool = takes_long ? context_.wait_pool : context_.parse_pool;
  co_await net::co_spawn(pool, handle, net::use_awaitable);
  co_return result;
}

void Session::BeginReplies(HttpRequest& request) {
  request.client = client_;
  if (request.id.empty()) request.id = NewRequestId();
  began_ = absl::Now();
  request_id_ = request.id;
  traceparent_ = request.traceparent;
  reply_headers_ = CorsHeaders(context_.options.cors_origins, request.origin);
  reply_headers_.emplace_back("x-request-id", request.id);
  log_id_ = absl::StrCat("id=", request.id, " client=", client_);
  if (request.traceparent.empty()) return;
  reply_headers_.emplace_back("traceparent", request.traceparent);
  absl::StrAppend(&log_id_, " trace=", request.traceparent.substr(3, 32));
}

void Session::Trace(int status) {
  if (context_.traces == nullptr || route_ == "/health" || route_ == "/ready" || route_ == "/metrics") return;
  if (std::exchange(traced_, true)) return;
  // "00-", 32 digits of the trace, "-", 16 of its span, "-", two of flags: the lowest bit says that it is recorded.
  const bool within = !traceparent_.empty();
  if (within && std::string_view("13579bdf").find(traceparent_.back()) == std::string_view::npos) return;
  TraceSpan span{
      .trace_id = within ? traceparent_.substr(3, 32) : "",
      .parent_id = within ? traceparent_.substr(36, 16) : "",
      .name = route_,
      .begin = began_,
      .end = absl::Now(),
      .failed = status >= 500,
      .attributes = {
          {"http.route", route_}, {"http.response.status_code", int64_t{status}}, {"barn.request_id", request_id_}}};
  if (meter_.has_value()) {
    span.attributes.emplace_back("gen_ai.usage.input_tokens", meter_->prompt_tokens());
    span.attributes.emplace_back("gen_ai.usage.output_tokens", meter_->generated_tokens());
    if (meter_->generated_tokens() > 0) {
      span.attributes.emplace_back("gen_ai.server.time_to_first_token",
                                   absl::ToDoubleSeconds(meter_->to_first_token()));
    }
  }
  context_.traces->Add(std::move(span));
}

void Session::LogReply(int status) {
  Trace(status);
  const bool failed = status >= 500 || status == 401 || status == 403 || status == 429;
  if (!failed && !context_.options.log_requests) return;
  std::string line = absl::StrCat("request ", log_id_, " route=", route_, " status=", status);
  if (meter_.has_value()) {
    absl::StrAppend(&line, " prompt_tokens=", meter_->prompt_tokens(), " tokens=", meter_->generated_tokens());
    if (meter_->generated_tokens() > 0) {
      absl::StrAppend(&line, " first_token_ms=", absl::ToInt64Milliseconds(meter_->to_first_token()));
    }
    absl::StrAppend(&line, " ms=", absl::ToInt64Milliseconds(absl::Now() - meter_->began()));
  }
  spdlog::log(status >= 500 ? spdlog::level::err : failed ? spdlog::level::warn : spdlog::level::info, line);
}

void Session::ReleaseBody() { context_.metrics.body_bytes -= std::exchange(body_leased_, 0); }

net::awaitable<void> Session::WriteReply(HttpReply reply) {
  context_.metrics.CountRequest(route_, reply.status);
  std::vector<std::pair<std::string, std::string>> headers = {
      {"Content-Type", reply.content_type},
      {"Content-Length", absl::StrCat(reply.body.size())},
      {"Connection", keep_alive_ ? "keep-alive" : "close"},
  };
  headers.insert(headers.end(), reply.headers.begin(), reply.headers.end());
  headers.insert(headers.end(), reply_headers_.begin(), reply_headers_.end());
  LogReply(reply.status);
  std::string bytes = ReplyHead(reply.status, absl::Now(), headers);
  if (!head_only_) bytes += reply.body;
  co_await Write(std::move(bytes));
}

net::awaitable<void> Session::WriteError(ApiError error) {
  HttpReply reply = ErrorReply(error, DialectOf(route_));
  co_await WriteReply(std::move(reply));
}

net::awaitable<bool> Session::Write(std::string bytes) {
  error_code error;
  stream_.expires_after(Chrono(context_.options.write_timeout));
  co_await net::async_write(stream_, net::buffer(bytes), Into(error));
  if (error) gone_ = true;
  if (gone_) keep_alive_ = false;
  co_return !gone_;
}

// Closing with bytes unread makes the kernel send a reset, which may overtake the reply; so the rest is read for a
// while.
net::awaitable<void> Session::CloseGently() {
  error_code error;
  stream_.expires_after(kLinger);
  if (!gone_) co_await stream_.ShutdownSend();
  stream_.expires_after(kLinger);
  std::vector<char> part(kReadBytes);
  const bool unread = refused_ || buffer_.size() > 0;
  for (int64_t total = 0; unread && !error && !gone_ && total < kLingerBytesMax;) {
    total += static_cast<int64_t>(co_await stream_.async_read_some(net::buffer(part), Into(error)));
  }
  stream_.socket().close(error);
}

void Session::StartWatch() {
  watching_ = watch_runs_ = true;
  stream_.expires_never();
  net::co_spawn(
      io_, [self = shared_from_this()] { return self->Watch(); }, net::detached);
}

net::awaitable<void> Session::Watch() {
  error_code error;
  while (watching_ && !error && buffer_.size() < kPipelinedBytesMax) {
    const size_t count = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), Into(error));
    buffer_.commit(count);
  }
  // A half-closed connection looks the same as one that left; nobody who waits for an answer closes their side.
  if (error && watching_) gone_ = true;
  watch_runs_ = false;
  signal_.Set();
}

net::awaitable<void> Session::StopWatch() {
  watching_ = false;
  if (watch_runs_) stream_.cancel();
  while (watch_runs_) co_await signal_.Wait(std::chrono::steady_clock::time_point::max());
}

}  // namespace barn
