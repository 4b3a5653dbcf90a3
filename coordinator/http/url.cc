#include "coordinator/http/url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

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

std::string FileStem(absl::string_view location) {
  location = location.substr(0, location.find_first_of("?#"));
  absl::string_view name = location.substr(location.find_last_of('/') + 1);
  if (absl::EndsWithIgnoreCase(name, ".gguf")) name.remove_suffix(5);
  return std::string(name.substr(0, name.rfind("-00001-of-")));
}

}  // namespace barn
