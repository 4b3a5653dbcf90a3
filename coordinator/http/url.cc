#include "coordinator/http/url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace barn {

std::string PercentDecode(absl::string_view text) {
  std::string decoded;
  while (!text.empty()) {
    if (text.size() >= 3 && text[0] == '%' && absl::ascii_isxdigit(text[1]) && absl::ascii_isxdigit(text[2])) {
      decoded += absl::HexStringToBytes(text.substr(1, 2));
      text.remove_prefix(3);
    } else {
      decoded += text[0];
      text.remove_prefix(1);
    }
  }
  return decoded;
}

}  // namespace barn
