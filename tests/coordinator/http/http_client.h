#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/string_view.h"

namespace barn {

struct ClientReply {
  int status = 0;                              // 0: the connection ended without one.
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;

  nlohmann::json json() const { return nlohmann::json::parse(body); }
  // The "data:" lines of an event stream.
  std::vector<std::string> events() const;
};

// A blocking connection to 127.0.0.1, for tests. Every wait is bounded to 20 s.
class HttpClient {
 public:
  explicit HttpClient(uint16_t port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // False when the server has closed.
  bool Send(absl::string_view bytes);
  // The next reply; with `head`, one that has no body.
  ClientReply Receive(bool head = false);
  // More bytes as they come; "" at the end.
  std::string ReceiveSome();
  void ShrinkReceiveBuffer();
  // Leaves without a goodbye to TLS or HTTP.
  void Close();

  ClientReply Get(absl::string_view path);
  ClientReply Post(absl::string_view path, const nlohmann::json& body) { return PostText(path, body.dump()); }
  ClientReply PostText(absl::string_view path, absl::string_view body);

 private:
  bool Fill();
  std::string TakeUntil(absl::string_view end);
  std::string TakeBytes(size_t count);
  std::string TakeChunks();

  int socket_ = -1;
  std::string buffer_;
};

// The bytes of a POST.
std::string PostBytes(absl::string_view path, absl::string_view body, absl::string_view more_headers = "");

}  // namespace barn
