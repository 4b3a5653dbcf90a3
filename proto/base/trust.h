#pragma once

#include <cstddef>
#include <string_view>

namespace barn {

// True for hosts that mean this machine by their text alone: localhost, 127.x.x.x, ::1, in brackets or not.
inline bool IsLoopbackHost(std::string_view host) {
  // 127.example.com is a name, which may mean any machine: digits and points only.
  const bool v4 = host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
  return v4 || host == "localhost" || host == "::1" || host == "[::1]";
}

// Compares secrets in a time that depends on the lengths alone.
inline bool EqualInConstantTime(std::string_view a, std::string_view b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(i < b.size() ? b[i] : 0);
  }
  return difference == 0;
}

}  // namespace barn
