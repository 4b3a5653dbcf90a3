#include "tests/sharding/http_range_server.h"

#include <algorithm>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace barn {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

HttpRangeServer::HttpRangeServer(std::string content, std::string etag)
    : content_(std::move(content)),
      etag_(std::move(etag)),
      acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
  accepting_ = std::thread([this] { Accept(); });
}

HttpRangeServer::~HttpRangeServer() {
  stopping_ = true;
  {
    // Wakes the accepting thread.
    tcp::socket knock(io_);
    boost::system::error_code ignored;
    knock.connect(acceptor_.local_endpoint(), ignored);
  }
  accepting_.join();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (tcp::socket& socket : sockets_) {
      boost::system::error_code ignored;
      socket.shutdown(tcp::socket::shutdown_both, ignored);
    }
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

std::string HttpRangeServer::Url(const std::string& path) const {
  return absl::StrCat("http://127.0.0.1:", acceptor_.local_endpoint().port(), path);
}

void HttpRangeServer::OnRequest(std::function<void(const RangeRequest&, RangeAnswer&)> change) {
  std::lock_guard<std::mutex> lock(mutex_);
  change_ = std::move(change);
}

void HttpRangeServer::Accept() {
  while (true) {
    boost::system::error_code error;
    tcp::socket socket = acceptor_.accept(error);
    if (stopping_ || error) {
      return;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    tcp::socket& kept = sockets_.emplace_back(std::move(socket));
    threads_.emplace_back([this, &kept] { Serve(kept); });
  }
}

RangeAnswer HttpRangeServer::Answer(const RangeRequest& request) {
  RangeAnswer answer;
  const int64_t size = static_cast<int64_t>(content_.size());
  if (!etag_.empty()) {
    answer.headers = absl::StrCat("ETag: ", etag_, "\r\n");
  }
  if (!request.has_range || (!request.if_range.empty() && request.if_range != etag_)) {
    answer.status = 200;
    answer.body = content_;
  } else if (request.first >= size) {
    answer.status = 416;
  } else {
    const int64_t last = std::min(request.last, size - 1);
    answer.body = content_.substr(request.first, last - request.first + 1);
    absl::StrAppend(&answer.headers, "Content-Range: bytes ", request.first, "-", last, "/", size, "\r\n");
  }
  std::function<void(const RangeRequest&, RangeAnswer&)> change;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    change = change_;
  }
  if (change) {
    change(request, answer);
  }
  return answer;
}

void HttpRangeServer::Serve(tcp::socket& socket) {
  boost::beast::flat_buffer buffer;
  boost::system::error_code error;
  while (!stopping_) {
    http::request<http::empty_body> message;
    http::read(socket, buffer, message, error);
    if (error) {
      break;
    }
    RangeRequest request;
    request.number = requests_++;
    request.path = std::string(message.target());
    request.if_range = std::string(message[http::field::if_range]);
    const std::string range(message[http::field::range]);
    long long first = 0, last = 0;
    request.has_range = std::sscanf(range.c_str(), "bytes=%lld-%lld", &first, &last) == 2;
    request.first = first;
    request.last = last;
    const RangeAnswer answer = Answer(request);
    const int64_t length =
        answer.content_length >= 0 ? answer.content_length : static_cast<int64_t>(answer.body.size());
    const std::string head =
        absl::StrCat("HTTP/1.1 ", answer.status, " X\r\n", answer.headers, "Content-Length: ", length, "\r\n\r\n");
    const std::string body = answer.drop_after >= 0 ? answer.body.substr(0, answer.drop_after) : answer.body;
    asio::write(socket, asio::buffer(head), error);
    body_bytes_ += static_cast<int64_t>(asio::write(socket, asio::buffer(body), error));
    if (answer.stall) {
      char byte = 0;
      socket.read_some(asio::buffer(&byte, 1), error);  // Until the client gives up.
      break;
    }
    if (error || answer.drop_after >= 0) {
      break;
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  socket.shutdown(tcp::socket::shutdown_both, error);
}

}  // namespace barn
