#include "sharding/store/http_store.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "sharding/store/http_request.h"

namespace barn {
namespace {

constexpr int64_t kBytesPerExtraAttempt = 1 << 20;
constexpr absl::Duration kBackoffMax = absl::Seconds(4);
constexpr absl::Duration kRetryAfterMax = absl::Seconds(30);

// What a server says of a file's version.
struct HttpVersion {
  int64_t size_bytes = 0;
  std::string if_range;  // Strong ETag or date; empty when the server gave neither.
  std::string identity;
};

class HttpStore : public Store {
 public:
  HttpStore(std::shared_ptr<HttpRequester> requester, std::string name, HttpVersion version, HttpStoreOptions options)
      : requester_(std::move(requester)), name_(std::move(name)), version_(std::move(version)), options_(options) {}

  std::string Identity() const override { return version_.identity; }
  std::string Name() const override { return name_; }
  int64_t size_bytes() const override { return version_.size_bytes; }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override;

  absl::StatusOr<std::unique_ptr<ByteRange>> Map(int64_t, int64_t) const override {
    return absl::UnimplementedError(name_ + ": a remote file cannot be mapped");
  }

 private:
  const std::shared_ptr<HttpRequester> requester_;
  const std::string name_;
  const HttpVersion version_;
  const HttpStoreOptions options_;
};

// Waits between attempts: doubling, or as the server asks within bounds.
void BackOff(const HttpRangeReply& reply, absl::Duration& backoff) {
  absl::SleepFor(std::max(backoff, std::min(reply.retry_after, kRetryAfterMax)));
  backoff = std::min(backoff * 2, kBackoffMax);
}

absl::Status HttpStore::Read(int64_t offset, std::span<std::byte> out) const {
  if (offset < 0 || offset > version_.size_bytes || static_cast<int64_t>(out.size()) > version_.size_bytes - offset) {
    return absl::OutOfRangeError(
        absl::StrFormat("%s: bytes %d+%d lie beyond its %d bytes", name_, offset, out.size(), version_.size_bytes));
  }
  int64_t done = 0;
  int failures = 0;
  absl::Duration backoff = options_.backoff_first;
  while (done < static_cast<int64_t>(out.size())) {
    const HttpRangeReply reply =
        requester_->Get(offset + done, out.subspan(done), version_.if_range, version_.size_bytes);
    done += reply.received;
    if (reply.status.ok()) {
      continue;
    }
    if (!reply.retry) {
      return reply.status;
    }
    if (++failures >= options_.attempts_max + done / kBytesPerExtraAttempt) {
      return absl::UnavailableError(
          absl::StrFormat("%s (gave up after %d attempts)", reply.status.message(), failures));
    }
    if (reply.received > 0) {
      backoff = options_.backoff_first;
    }
    BackOff(reply, backoff);
  }
  return absl::OkStatus();
}

// If-Range takes strong validators only (RFC 9110, section 13.1.5). Without any validator nothing proves that two
// reads, or two runs, see the same file: then the identity is unique, so that no cache serves it later.
HttpVersion VersionOf(const std::string& url, const HttpRangeReply& reply) {
  HttpVersion version;
  version.size_bytes = reply.total_bytes;
  if (!reply.etag.empty() && !absl::StartsWith(reply.etag, "W/")) {
    version.if_range = reply.etag;
  } else {
    version.if_range = reply.last_modified;
  }
  std::string mark = reply.etag.empty() ? reply.last_modified : reply.etag;
  if (mark.empty()) {
    std::random_device random;
    mark = absl::StrFormat("unversioned-%08x%08x", random(), random());
  }
  version.identity = absl::StrFormat("%s|%s|%d", url, mark, version.size_bytes);
  return version;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenHttpStore(std::string_view url, HttpStoreOptions options) {
  const std::string address(url);
  BARN_ASSIGN_OR_RETURN(std::string name, PublicUrl(address));
  auto requester = std::make_shared<HttpRequester>(address, name, options);
  absl::Duration backoff = options.backoff_first;
  for (int attempt = 1;; ++attempt) {
    // One byte instead of HEAD: it also proves that ranges work, and signed URLs often allow GET only.
    std::array<std::byte, 1> first;
    const HttpRangeReply reply = requester->Get(0, first, "", -1);
    if (reply.status.ok()) {
      if (reply.total_bytes < 0) {
        return absl::FailedPreconditionError(name + ": the server does not tell the file's size");
      }
      return std::make_unique<HttpStore>(std::move(requester), std::move(name), VersionOf(address, reply), options);
    }
    if (absl::IsOutOfRange(reply.status)) {
      return absl::InvalidArgumentError(name + ": the file is empty");
    }
    if (!reply.retry) {
      return reply.status;
    }
    if (attempt >= options.attempts_max) {
      return absl::UnavailableError(absl::StrFormat("%s (gave up after %d attempts)", reply.status.message(), attempt));
    }
    BackOff(reply, backoff);
  }
}

}  // namespace barn
