#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace barn {

// What the holder of a key may do. Users generate, and see their own usage; admins also see everybody's and the
// metrics; metrics may only read /metrics.
enum class Role { kUser, kAdmin, kMetrics };

absl::StatusOr<Role> ReadRole(std::string_view name);
std::string_view RoleName(Role role);

// So many requests in any stretch of `period`, and no more than `count` at once.
struct Rate {
  int64_t count = 0;  // 0: no bound.
  absl::Duration period = absl::Minutes(1);
};

inline constexpr int64_t kKeyPriorityMax = 9;

struct KeyLimits {
  int64_t tokens_per_day = 0;  // Of prompts and answers, by UTC day. 0: no bound.
  Rate rate = {};
  int64_t priority = 0;  // Higher goes first; 0 to kKeyPriorityMax.
  int64_t weight = 1;    // Share of the machine beside others of the same priority; 1 to 100.
};

struct Key {
  int64_t id = 0;
  std::string name;
  Role role = Role::kUser;
  KeyLimits limits;
  absl::Time created;
  bool revoked = false;
};

// "2M", "500k", "1.5G", "1000": a count, units are powers of 1000. InvalidArgument names the text.
absl::StatusOr<int64_t> ReadCount(std::string_view text);
// "60/min", "5/s", "1000/h", "10000/day". InvalidArgument names the text.
absl::StatusOr<Rate> ReadRate(std::string_view text);
std::string RateText(const Rate& rate);  // "60/min"; "-" without a bound.

// A new secret of 256 random bits: "barn-" and 43 characters of base64url.
std::string NewSecret();
// SHA-256, 32 bytes: a key is as random as its hash, so no slow hash is needed against guessing.
std::string HashSecret(std::string_view secret);

}  // namespace barn
