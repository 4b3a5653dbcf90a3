#include "tests/coordinator/http/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace barn {

std::vector<std::string> ClientReply::events() const {
  std::vector<std::string> data;
  for (const absl::string_view event : absl::StrSplit(body, "\n\n", absl::SkipEmpty())) {
    if (absl::StartsWith(event, "data: ")) data.emplace_back(event.substr(6));
  }
  return data;
}

HttpClient::HttpClient(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) Close();
}

HttpClient::~HttpClient() { Close(); }

void HttpClient::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void HttpClient::ShrinkReceiveBuffer() {
  const int bytes = 2048;
  setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

bool HttpClient::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool HttpClient::Fill() {
  char part[16 * 1024];
  const ssize_t got = recv(socket_, part, sizeof(part), 0);
  if (got > 0) buffer_.append(part, static_cast<size_t>(got));
  return got > 0;
}

std::string HttpClient::ReceiveSome() {
  if (buffer_.empty() && !Fill()) return "";
  return std::exchange(buffer_, "");
}

std::string HttpClient::TakeUntil(absl::string_view end) {
  size_t at;
  while ((at = buffer_.find(end.data(), 0, end.size())) == std::string::npos) {
    if (!Fill()) return "";
  }
  return TakeBytes(at + end.size());
}

std::string HttpClient::TakeBytes(size_t count) {
  while (buffer_.size() < count) {
    if (!Fill()) break;
  }
  std::string taken = buffer_.substr(0, count);
  buffer_.erase(0, count);
  return taken;
}

std::string HttpClient::TakeChunks() {
  std::string body;
  while (true) {
    uint64_t bytes = 0;
    if (!absl::SimpleHexAtoi(absl::StripAsciiWhitespace(TakeUntil("\r\n")), &bytes)) return body + "<broken chunk>";
    body += TakeBytes(bytes);
    if (TakeBytes(2) != "\r\n") return body + "<broken chunk>";
    if (bytes == 0) return body;
  }
}

ClientReply HttpClient::Receive(bool head) {
  ClientReply reply;
  const std::string header = TakeUntil("\r\n\r\n");
  const std::vector<std::string> lines = absl::StrSplit(header, "\r\n", absl::SkipEmpty());
  if (lines.empty() || !absl::SimpleAtoi(lines[0].substr(9, 3), &reply.status)) return reply;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<std::string, std::string> field = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    reply.headers[absl::AsciiStrToLower(field.first)] = field.second;
  }
  if (head || reply.status == 100) return reply;
  uint64_t bytes = 0;
  if (reply.headers.contains("transfer-encoding")) {
    reply.body = TakeChunks();
  } else if (reply.headers.contains("content-length") && absl::SimpleAtoi(reply.headers["content-length"], &bytes)) {
    reply.body = TakeBytes(bytes);
  } else {
    while (Fill()) continue;
    reply.body = std::exchange(buffer_, "");
  }
  return reply;
}

ClientReply HttpClient::Get(absl::string_view path) {
  Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
  return Receive();
}

ClientReply HttpClient::PostText(absl::string_view path, absl::string_view body) {
  Send(PostBytes(path, body));
  return Receive();
}

std::string PostBytes(absl::string_view path, absl::string_view body, absl::string_view more_headers) {
  return absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", more_headers,
                      "Content-Length: ", body.size(), "\r\n\r\n", body);
}

}  // namespace barn
