#include "sharding/store/http_request.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "proto/base/trust.h"

namespace barn {
namespace {

constexpr size_t kHeaderBytesMax = 64 << 10;

// The state of one transfer, filled by curl's callbacks.
struct Transfer {
  CURL* handle = nullptr;
  int64_t offset = 0;
  std::span<std::byte> out;
  int64_t expected_total = -1;
  HttpRangeReply reply;
  std::string content_range;
  size_t header_bytes = 0;
  bool body_checked = false;
  std::string refusal;  // Why our callback stopped the transfer.
  absl::StatusCode refusal_code = absl::StatusCode::kOk;
};

void CurlGlobalInit() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

// Reads a decimal number and the character behind it off the front of text. False when either is missing.
bool TakeNumber(std::string_view& text, char behind, int64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  if (error != std::errc() || end == text.data() + text.size() || *end != behind || *number < 0) {
    return false;
  }
  text.remove_prefix(end - text.data() + 1);
  return true;
}

// "bytes first-last/total"; total "*" gives -1. False when malformed.
bool ParseContentRange(const std::string& value, int64_t* first, int64_t* last, int64_t* total) {
  if (!absl::StartsWithIgnoreCase(value, "bytes ")) {
    return false;
  }
  const std::string text = value.substr(6) + "\n";
  std::string_view rest = text;
  if (!TakeNumber(rest, '-', first) || !TakeNumber(rest, '/', last) || *last < *first) {
    return false;
  }
  *total = -1;
  return rest == "*\n" || (TakeNumber(rest, '\n', total) && *total > *last);
}

size_t OnHeader(char* data, size_t size, size_t count, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  const std::string line(data, size * count);
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kHeaderBytesMax) {
    transfer.refusal = absl::StrFormat("more than %d bytes of headers", kHeaderBytesMax);
    transfer.refusal_code = absl::StatusCode::kUnavailable;
    return 0;
  }
  if (absl::StartsWith(line, "HTTP/")) {  // A new answer: what a redirect said no longer counts.
    transfer.content_range.clear();
    transfer.reply.etag.clear();
    transfer.reply.last_modified.clear();
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon != std::string::npos) {
    const std::string name = line.substr(0, colon);
    const std::string value(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    if (absl::EqualsIgnoreCase(name, "content-range")) {
      transfer.content_range = value;
    } else if (absl::EqualsIgnoreCase(name, "etag")) {
      transfer.reply.etag = value;
    } else if (absl::EqualsIgnoreCase(name, "last-modified")) {
      transfer.reply.last_modified = value;
    }
  }
  return line.size();
}

// Checks the head of a 206 answer against what was asked.
bool CheckRange(Transfer& transfer) {
  int64_t first = 0, last = 0;
  const int64_t wanted_last = transfer.offset + static_cast<int64_t>(transfer.out.size()) - 1;
  if (!ParseContentRange(transfer.content_range, &first, &last, &transfer.reply.total_bytes)) {
    transfer.refusal = absl::StrFormat("answer 206 with Content-Range \"%s\"", transfer.content_range);
    transfer.refusal_code = absl::StatusCode::kFailedPrecondition;
  } else if (transfer.expected_total >= 0 && transfer.reply.total_bytes >= 0 &&
             transfer.reply.total_bytes != transfer.expected_total) {
    transfer.refusal =
        absl::StrFormat("its size changed from %d to %d bytes", transfer.expected_total, transfer.reply.total_bytes);
    transfer.refusal_code = absl::StatusCode::kDataLoss;
  } else if (first != transfer.offset || last > wanted_last) {
    transfer.refusal =
        absl::StrFormat("asked for bytes %d-%d, the server sends %d-%d", transfer.offset, wanted_last, first, last);
    transfer.refusal_code = absl::StatusCode::kFailedPrecondition;
  }
  return transfer.refusal.empty();
}

size_t OnBody(char* data, size_t size, size_t count, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  if (!transfer.body_checked) {
    long code = 0;
    curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &code);
    // A body of any other answer is not ours to store; 200 would be the whole file.
    if (code != 206 || !CheckRange(transfer)) {
      return 0;
    }
    transfer.body_checked = true;
  }
  const size_t room = transfer.out.size() - transfer.reply.received;
  if (bytes > room) {
    transfer.refusal = absl::StrFormat("more than the %d bytes asked for", transfer.out.size());
    transfer.refusal_code = absl::StatusCode::kFailedPrecondition;
    return 0;
  }
  std::memcpy(transfer.out.data() + transfer.reply.received, data, bytes);
  transfer.reply.received += static_cast<int64_t>(bytes);
  return bytes;
}

absl::Status HttpError(const std::string& name, long code, bool conditional) {
  const std::string line = absl::StrFormat("%s: HTTP status %d", name, code);
  if (code == 200) {
    return conditional ? absl::DataLossError(name + ": the file changed on the server while it was read")
                       : absl::FailedPreconditionError(
                             name +
                             ": the server ignores byte ranges (answer 200 to a Range request); a worker reads only "
                             "its slice and needs them");
  }
  if (code == 404 || code == 410) {
    return absl::NotFoundError(line);
  }
  if (code == 401 || code == 403) {
    return absl::PermissionDeniedError(line);
  }
  if (code == 416) {
    return absl::OutOfRangeError(line + " (range not satisfiable)");
  }
  if (code == 408 || code == 425 || code == 429 || code >= 500) {
    return absl::UnavailableError(line);
  }
  return absl::FailedPreconditionError(line);
}

// Options that every request of a handle shares.
void Configure(CURL* handle, const std::string& url, const HttpStoreOptions& options) {
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "barn/0.1");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, static_cast<long>(options.redirects_max));
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  // A redirect must not leave TLS, nor reach for files.
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR,
                   absl::StartsWithIgnoreCase(url, "https") ? "https" : "http,https");
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(options.connect_timeout)));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                   std::max(1L, static_cast<long>(absl::ToInt64Seconds(options.stall_timeout))));
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, OnBody);
  if (IsLoopbackUrl(url)) {
    curl_easy_setopt(handle, CURLOPT_PROXY, "");
  }
}

// Turns curl's result and the HTTP status into the reply's status.
void Judge(Transfer& transfer, CURLcode result, const std::string& name, bool conditional) {
  HttpRangeReply& reply = transfer.reply;
  if (!transfer.refusal.empty()) {
    reply.status = absl::Status(transfer.refusal_code, name + ": " + transfer.refusal);
    reply.retry = transfer.refusal_code == absl::StatusCode::kUnavailable;
    return;
  }
  long code = 0;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &code);
  const bool answered =
      code >= 200 && code != 206 && (result == CURLE_OK || result == CURLE_WRITE_ERROR || result == CURLE_PARTIAL_FILE);
  if (answered && !(code >= 300 && code < 400)) {
    reply.status = HttpError(name, code, conditional);
    reply.retry = absl::IsUnavailable(reply.status);
    curl_off_t seconds = 0;
    curl_easy_getinfo(transfer.handle, CURLINFO_RETRY_AFTER, &seconds);
    reply.retry_after = absl::Seconds(seconds);
    return;
  }
  if (result != CURLE_OK) {
    reply.status = absl::UnavailableError(absl::StrFormat("%s: %s", name, curl_easy_strerror(result)));
    reply.retry = result != CURLE_TOO_MANY_REDIRECTS && result != CURLE_UNSUPPORTED_PROTOCOL &&
                  result != CURLE_URL_MALFORMAT && result != CURLE_PEER_FAILED_VERIFICATION;
  } else if (code != 206) {
    reply.status = HttpError(name, code, conditional);
  } else if (reply.received < static_cast<int64_t>(transfer.out.size())) {
    reply.status = absl::UnavailableError(absl::StrFormat("%s: %d of %d bytes at offset %d arrived", name,
                                                          reply.received, transfer.out.size(), transfer.offset));
    reply.retry = true;
  }
}

}  // namespace

HttpRequester::HttpRequester(std::string url, std::string name, HttpStoreOptions options)
    : url_(std::move(url)), name_(std::move(name)), options_(options) {
  CurlGlobalInit();
}

HttpRequester::~HttpRequester() {
  for (CURL* handle : idle_) {
    curl_easy_cleanup(handle);
  }
}

CURL* HttpRequester::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) {
    return curl_easy_init();
  }
  CURL* handle = idle_.back();
  idle_.pop_back();
  return handle;
}

void HttpRequester::GiveBack(CURL* handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(handle);
}

HttpRangeReply HttpRequester::Get(int64_t offset, std::span<std::byte> out, const std::string& if_range,
                                  int64_t total_bytes) {
  Transfer transfer;
  transfer.handle = Take();
  if (transfer.handle == nullptr) {
    transfer.reply.status = absl::ResourceExhaustedError(name_ + ": no memory for an HTTP request");
    return transfer.reply;
  }
  transfer.offset = offset;
  transfer.out = out;
  transfer.expected_total = total_bytes;
  Configure(transfer.handle, url_, options_);
  const std::string range = absl::StrFormat("%d-%d", offset, offset + static_cast<int64_t>(out.size()) - 1);
  curl_easy_setopt(transfer.handle, CURLOPT_RANGE, range.c_str());
  curl_slist* headers = nullptr;
  if (!if_range.empty()) {
    headers = curl_slist_append(headers, ("If-Range: " + if_range).c_str());
  }
  curl_easy_setopt(transfer.handle, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(transfer.handle, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(transfer.handle, CURLOPT_WRITEDATA, &transfer);
  const CURLcode result = curl_easy_perform(transfer.handle);
  Judge(transfer, result, name_, !if_range.empty());
  curl_easy_setopt(transfer.handle, CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(headers);
  GiveBack(transfer.handle);
  return std::move(transfer.reply);
}

bool IsLoopbackUrl(const std::string& url) {
  CURLU* parsed = curl_url();
  char* host = nullptr;
  bool loopback = false;
  if (curl_url_set(parsed, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
      curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
    loopback = IsLoopbackHost(host);
    curl_free(host);
  }
  curl_url_cleanup(parsed);
  return loopback;
}

absl::StatusOr<std::string> PublicUrl(const std::string& url) {
  CURLU* parsed = curl_url();
  std::string text;
  char* part = nullptr;
  const bool http = absl::StartsWithIgnoreCase(url, "http://") || absl::StartsWithIgnoreCase(url, "https://");
  if (http && curl_url_set(parsed, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK) {
    for (const CURLUPart secret : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
      curl_url_set(parsed, secret, nullptr, 0);
    }
    if (curl_url_get(parsed, CURLUPART_URL, &part, 0) == CURLUE_OK) {
      text = part;
      curl_free(part);
    }
  }
  curl_url_cleanup(parsed);
  if (text.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is no http or https URL", url.substr(0, 200)));
  }
  return text;
}

}  // namespace barn
