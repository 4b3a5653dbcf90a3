#include "coordinator/http/reply_head.h"

#include <boost/beast/http/status.hpp>

#include "absl/strings/str_cat.h"

namespace barn {

std::string ReplyHead(int status, absl::Time now, const std::vector<std::pair<std::string, std::string>>& headers) {
  namespace http = boost::beast::http;
  const auto reason = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  std::string head = absl::StrCat("HTTP/1.1 ", status, " ", absl::string_view(reason.data(), reason.size()), "\r\n");
  absl::StrAppend(&head, "Date: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", now, absl::UTCTimeZone()), "\r\n");
  absl::StrAppend(&head, "Server: barn\r\n");
  for (const auto& [name, value] : headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  return absl::StrCat(head, "\r\n");
}

std::string Chunk(const std::string& bytes) { return absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n"); }

}  // namespace barn
