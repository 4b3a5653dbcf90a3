#include "coordinator/accounts/key.h"

#include <openssl/rand.h>
#include <openssl/sha.h>

#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/check.h"

namespace barn {
namespace {

constexpr double kCountMax = 1e15;

constexpr std::pair<Role, std::string_view> kRoles[] = {
    {Role::kUser, "user"}, {Role::kAdmin, "admin"}, {Role::kMetrics, "metrics"}};

struct Period {
  std::string_view name;
  int64_t seconds;
};
constexpr Period kPeriods[] = {{"s", 1},    {"sec", 1},     {"min", 60},    {"m", 60},
                               {"h", 3600}, {"hour", 3600}, {"day", 86400}, {"d", 86400}};

}  // namespace

absl::StatusOr<Role> ReadRole(std::string_view name) {
  for (const auto& [role, text] : kRoles) {
    if (text == name) return role;
  }
  return absl::InvalidArgumentError(absl::StrFormat("the role '%s' is not one of user, admin, metrics", name));
}

std::string_view RoleName(Role role) {
  for (const auto& [known, text] : kRoles) {
    if (known == role) return text;
  }
  return "";
}

absl::StatusOr<int64_t> ReadCount(std::string_view text) {
  std::string_view digits = text;
  double unit = 1;
  if (!digits.empty()) {
    switch (digits.back()) {
      case 'k':
      case 'K':
        unit = 1e3;
        break;
      case 'M':
        unit = 1e6;
        break;
      case 'G':
        unit = 1e9;
        break;
      default:
        break;
    }
  }
  if (unit > 1) digits.remove_suffix(1);
  double number = 0;
  if (!absl::SimpleAtod({digits.data(), digits.size()}, &number) || !(number >= 0 && number * unit <= kCountMax)) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' is no count such as 2M, 500k or 1000", text));
  }
  return std::llround(number * unit);
}

absl::StatusOr<Rate> ReadRate(std::string_view text) {
  const size_t slash = text.find('/');
  for (const Period& period : kPeriods) {
    if (slash == std::string_view::npos || text.substr(slash + 1) != period.name) continue;
    const absl::StatusOr<int64_t> count = ReadCount(text.substr(0, slash));
    if (!count.ok() || *count < 1 || *count > 1'000'000) break;
    return Rate{.count = *count, .period = absl::Seconds(period.seconds)};
  }
  return absl::InvalidArgumentError(absl::StrFormat("'%s' is no rate such as 5/s, 60/min, 1000/h or 10k/day", text));
}

std::string RateText(const Rate& rate) {
  if (rate.count == 0) return "-";
  for (const Period& period : kPeriods) {
    if (absl::Seconds(period.seconds) == rate.period) {
      return absl::StrCat(rate.count, "/", absl::string_view(period.name.data(), period.name.size()));
    }
  }
  return absl::StrCat(rate.count, "/", absl::FormatDuration(rate.period));
}

std::string NewSecret() {
  unsigned char bytes[32];
  BARN_CHECK(RAND_bytes(bytes, sizeof(bytes)) == 1);
  return absl::StrCat(
      "barn-", absl::WebSafeBase64Escape(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes))));
}

std::string HashSecret(std::string_view secret) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), hash);
  return {reinterpret_cast<const char*>(hash), sizeof(hash)};
}

}  // namespace barn
