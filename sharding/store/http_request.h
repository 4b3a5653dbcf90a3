#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "sharding/store/http_store.h"

typedef void CURL;

namespace barn {

// What a range request brought. `received` counts bytes written to the caller's buffer, also when `status` is an error.
struct HttpRangeReply {
  absl::Status status;
  bool retry = false;          // Another attempt may succeed.
  absl::Duration retry_after;  // As the server asked; zero when it did not.
  int64_t received = 0;
  int64_t total_bytes = -1;  // Of the whole file, by Content-Range.
  std::string etag;          // As sent, with quotes; W/ marks a weak one.
  std::string last_modified;
};

// Sends range requests to one URL over a pool of kept-alive connections. Thread-safe.
class HttpRequester {
 public:
  // A URL without user, password and query is `name`, for messages.
  HttpRequester(std::string url, std::string name, HttpStoreOptions options);
  ~HttpRequester();
  HttpRequester(const HttpRequester&) = delete;
  HttpRequester& operator=(const HttpRequester&) = delete;

  // GET of bytes [offset, offset + out.size()), out not empty. A non-empty if_range must match the file's version, and
  // a total_bytes >= 0 its size. An answer that is not exactly a prefix of this range is an error.
  HttpRangeReply Get(int64_t offset, std::span<std::byte> out, const std::string& if_range, int64_t total_bytes);

 private:
  CURL* Take();
  void GiveBack(CURL* handle);

  const std::string url_;
  const std::string name_;
  const HttpStoreOptions options_;
  std::mutex mutex_;
  std::vector<CURL*> idle_;  // Guarded by mutex_.
};

// True when the host of `url` is localhost or a loopback address.
bool IsLoopbackUrl(const std::string& url);

// Scheme, host, port and path of an http(s) URL; InvalidArgument otherwise.
absl::StatusOr<std::string> PublicUrl(const std::string& url);

}  // namespace barn
