#include "coordinator/http/server.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/http/session.h"
#include "coordinator/http/tls_files.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

// One thread with its share of the connections.
struct Lane {
  std::unordered_set<Session*> sessions;  // Touched on the thread of this lane only.
  net::io_context io{1};                  // After sessions: coroutines that it still holds at the end leave that set.
  net::executor_work_guard<net::io_context::executor_type> work{io.get_executor()};
  std::thread thread;
};

absl::StatusOr<tcp::acceptor> Listen(net::io_context& io, const HttpOptions& options) {
  const std::string where = absl::StrCat(options.host, ":", options.port);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", where, ": ", error.message()));
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(net::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error == net::error::address_in_use) return absl::AlreadyExistsError(absl::StrCat(where, " is in use"));
  if (error) return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", where, ": ", error.message()));
  return acceptor;
}

void LogEnd(std::exception_ptr failure) {
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    spdlog::error("http connection ended by an exception: {}", error.what());
  }
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpOptions options, ServedModel model, Engine& engine)
      : options_(std::move(options)), api_(std::move(model), engine, metrics_, options_.gate), engine_(&engine) {
    for (int i = 0; i < std::max(1, options_.threads); ++i) lanes_.push_back(std::make_unique<Lane>());
  }

  Impl(HttpOptions options, ModelDirectory& models)
      : options_(std::move(options)), api_(models, metrics_, options_.gate), engine_(nullptr) {
    for (int i = 0; i < std::max(1, options_.threads); ++i) lanes_.push_back(std::make_unique<Lane>());
  }

  ~Impl() { Stop(absl::ZeroDuration()); }

  absl::Status Start() {
    if (!options_.tls_certificate.empty() || !options_.tls_key.empty()) {
      auto tls = TlsFiles::Open(options_.tls_certificate, options_.tls_key);
      if (!tls.ok()) return std::move(tls).status();
      tls_ = *std::move(tls);
    }
    if (!options_.otlp_endpoint.empty()) {
      auto traces = TraceExport::Create(options_.otlp_endpoint);
      if (!traces.ok()) return std::move(traces).status();
      traces_ = *std::move(traces);
    }
    context_.emplace(SessionContext{options_, api_, engine_, metrics_, traces_.get(), parse_pool_, wait_pool_});
    auto acceptor = Listen(lanes_[0]->io, options_);
    if (!acceptor.ok()) return std::move(acceptor).status();
    acceptor_.emplace(std::move(*acceptor));
    port_ = acceptor_->local_endpoint().port();
    net::co_spawn(lanes_[0]->io, Accept(), LogEnd);
    for (const auto& lane : lanes_) lane->thread = std::thread([&io = lane->io] { io.run(); });
    return absl::OkStatus();
  }

  uint16_t port() const { return port_; }

  void Stop(absl::Duration grace) {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(stopping_, true)) return;
    }
    if (!acceptor_.has_value()) return;
    net::post(lanes_[0]->io, [this] { acceptor_->close(); });
    api_.Close();
    ForEachSession([](Session& session) { session.StopSoon(); });
    AwaitNoConnections(grace);
    ForEachSession([](Session& session) { session.Abort(); });
    AwaitNoConnections(absl::Seconds(2));
    parse_pool_.join();
    wait_pool_.join();
    for (const auto& lane : lanes_) lane->io.stop();
    for (const auto& lane : lanes_) lane->thread.join();
  }

 private:
  void ForEachSession(void (*act)(Session&)) {
    for (const auto& lane : lanes_) {
      net::post(lane->io, [&lane = *lane, act] {
        for (Session* session : lane.sessions) act(*session);
      });
    }
  }

  void AwaitNoConnections(absl::Duration patience) {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return connections_ == 0; };
    mutex_.AwaitWithTimeout(absl::Condition(&none), patience);
  }

  bool Admit() {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || connections_ >= options_.connections_max) return false;
    metrics_.connections = ++connections_;
    return true;
  }

  void Release() {
    absl::MutexLock lock(&mutex_);
    metrics_.connections = --connections_;
  }

  net::awaitable<void> Accept() {
    for (size_t turn = 0; acceptor_->is_open(); ++turn) {
      Lane& lane = *lanes_[turn % lanes_.size()];
      tcp::socket socket(lane.io);
      error_code error;
      co_await acceptor_->async_accept(socket, net::redirect_error(net::use_awaitable, error));
      if (error == net::error::operation_aborted) co_return;
      if (error) {
        // Out of file descriptors, most likely: wait until sessions give some back.
        net::steady_timer pause(lanes_[0]->io, std::chrono::milliseconds(100));
        co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
      } else if (Admit()) {
        net::co_spawn(lane.io, Serve(lane, std::move(socket)), LogEnd);
      } else {  // In plain words also where TLS is due: the connection ends in any case.
        Refuse(std::move(socket));
      }
    }
  }

  // Best effort: the reply is short enough for an empty send buffer, and nobody waits for a client over the limit.
  void Refuse(tcp::socket socket) {
    ++metrics_.connections_refused;
    error_code ignored;
    socket.non_blocking(true, ignored);
    constexpr absl::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    socket.send(net::buffer(kBusy.data(), kBusy.size()), 0, ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  net::awaitable<void> Serve(Lane& lane, tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto session = std::make_shared<Session>(std::move(socket), lane.io, *context_,
                                                   tls_ == nullptr ? nullptr : tls_->Current(absl::Now()));
    // Also when the coroutine is destroyed or left by an exception.
    const auto leave = [&](Session* ended) {
      lane.sessions.erase(ended);
      Release();
    };
    const std::unique_ptr<Session, decltype(leave)> member(session.get(), leave);
    lane.sessions.insert(session.get());
    co_await session->Run();
  }

  const HttpOptions options_;
  HttpMetrics metrics_;
  std::unique_ptr<TlsFiles> tls_;  // Null: the bytes are plain.
  std::unique_ptr<TraceExport> traces_;
  const Api api_;
  Engine* const engine_;  // Null where there are several models.
  net::thread_pool parse_pool_{1};
  net::thread_pool wait_pool_{1};
  std::optional<SessionContext> context_;

  absl::Mutex mutex_;
  int64_t connections_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  uint16_t port_ = 0;
  // Last: what coroutines still hold at the end uses all of the above.
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::optional<tcp::acceptor> acceptor_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;
uint16_t HttpServer::port() const { return impl_->port(); }
void HttpServer::Stop(absl::Duration grace) { impl_->Stop(grace); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(HttpOptions options, ServedModel model, Engine& engine) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(model), engine);
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(HttpOptions options, ModelDirectory& models) {
  auto impl = std::make_unique<Impl>(std::move(options), models);
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace barn
