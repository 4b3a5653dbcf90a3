#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace barn {

struct Account;

// A request as the routes see it; no type of the HTTP library leaves the session.
struct HttpRequest {
  std::string method;  // "GET".
  std::string path;    // Without query, still percent-encoded.
  std::string body;
  // From the header; "" where it has none or one that makes no sense.
  std::string secret;            // Of "Authorization: Bearer", or x-api-key.
  std::string id;                // x-request-id: the client's, else one of ours.
  std::string traceparent;       // W3C Trace Context.
  std::string origin;            // Of the page that a browser asks for.
  int64_t wait_s = -1;           // Of "Prefer: wait=10" (RFC 7240): how long its model may take to load; -1: not said.
  bool asks_for_method = false;  // A preflight; see cors.h.
  std::string asks_for_headers;
  // Filled in on the way.
  std::string client;                      // The address that it comes from.
  std::shared_ptr<const Account> account;  // Who asks; null where keys are not wanted.
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // Besides Content-Type and Content-Length.
};

}  // namespace barn
