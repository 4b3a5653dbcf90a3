#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace barn {

// A request for one file, as the server saw it.
struct RangeRequest {
  int64_t number = 0;  // From 0, over all connections.
  std::string path;
  std::string if_range;
  bool has_range = false;
  int64_t first = 0;
  int64_t last = 0;
};

// What goes back. The defaults of HttpRangeServer's answer are honest; a test changes what it wants wrong.
struct RangeAnswer {
  int status = 206;
  std::string headers;  // Complete lines with \r\n, without Content-Length.
  std::string body;
  int64_t content_length = -1;  // -1: of the body.
  int64_t drop_after = -1;      // Body bytes after which the connection is cut; -1: never.
  bool stall = false;           // Then nothing more comes, but the connection stays.
};

// A small HTTP server on loopback that serves ranges of one string under every path, and lies when told to.
class HttpRangeServer {
 public:
  explicit HttpRangeServer(std::string content, std::string etag = "\"v1\"");
  ~HttpRangeServer();

  std::string Url(const std::string& path = "/model.gguf") const;
  // Called with the honest answer before it is sent, on the connection's thread.
  void OnRequest(std::function<void(const RangeRequest&, RangeAnswer&)> change);

  int64_t requests() const { return requests_; }
  int64_t body_bytes() const { return body_bytes_; }

 private:
  void Accept();
  void Serve(boost::asio::ip::tcp::socket& socket);
  RangeAnswer Answer(const RangeRequest& request);

  const std::string content_;
  const std::string etag_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::atomic<int64_t> requests_ = 0;
  std::atomic<int64_t> body_bytes_ = 0;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::function<void(const RangeRequest&, RangeAnswer&)> change_;  // Guarded by mutex_, as the next.
  std::list<boost::asio::ip::tcp::socket> sockets_;
  std::list<std::thread> threads_;  // Only the accepting thread and the destructor.
  std::thread accepting_;
};

}  // namespace barn
