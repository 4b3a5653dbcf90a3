#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>

namespace barn {

// The bytes of one connection, encrypted or not: an AsyncStream of Asio, with the time-outs of Beast's tcp_stream. One
// thread.
class ClientStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;

  // Without `tls` the bytes are plain. A context lives as long as its connections, also after a newer one is in use.
  ClientStream(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> tls)
      : tcp_(std::move(socket)), context_(std::move(tls)) {
    if (context_ != nullptr) tls_.emplace(tcp_, *context_);
  }

  // Before anything else; at once without TLS.
  boost::asio::awaitable<boost::system::error_code> Handshake() {
    boost::system::error_code error;
    if (tls_.has_value()) {
      co_await tls_->async_handshake(boost::asio::ssl::stream_base::server,
                                     boost::asio::redirect_error(boost::asio::use_awaitable, error));
    }
    co_return error;
  }

  // Tells the other side that no more comes.
  boost::asio::awaitable<void> ShutdownSend() {
    boost::system::error_code ignored;
    if (tls_.has_value()) {
      co_await tls_->async_shutdown(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
    tcp_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_.has_value()) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return tcp_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_.has_value()) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return tcp_.async_write_some(buffers, std::forward<Token>(token));
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  void expires_after(std::chrono::steady_clock::duration time) { tcp_.expires_after(time); }
  void expires_never() { tcp_.expires_never(); }
  void cancel() { tcp_.cancel(); }
  boost::asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  bool encrypted() const { return tls_.has_value(); }

 private:
  boost::beast::tcp_stream tcp_;
  const std::shared_ptr<boost::asio::ssl::context> context_;
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace barn
