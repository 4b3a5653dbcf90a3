#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/scheduler/core.h"

// How many requests may wait.

namespace barn {

absl::Status Core::CheckQueue(const Tenant& tenant) const {
  const auto waiting = static_cast<int64_t>(sequences_.waiting().size());
  if (waiting < std::min(options_.tenant_waiting_max, options_.waiting_max)) return absl::OkStatus();
  const int64_t own = std::count_if(sequences_.waiting().begin(), sequences_.waiting().end(),
                                    [&](const auto& one) { return one.second.request.tenant.name == tenant.name; });
  const bool full = waiting >= options_.waiting_max;
  const bool named = !tenant.name.empty();
  if (!full && (own < options_.tenant_waiting_max || !named)) return absl::OkStatus();
  absl::Status status = absl::ResourceExhaustedError(
      full ? absl::StrFormat("%d requests wait already; try again later", waiting)
           : absl::StrFormat("%d of your requests wait already, which is all that one key may have; try again later",
                             own));
  if (!full) status.SetPayload(kTenantLimitPayload, absl::Cord("1"));
  // When half of those that wait have begun, there is room again for many.
  constexpr int64_t kSecondsMax = 60;
  const double seconds = absl::ToDoubleSeconds(end_interval_) * static_cast<double>(waiting) / 2;
  status.SetPayload(kRetryAfterPayload,
                    absl::Cord(absl::StrCat(std::clamp<int64_t>(static_cast<int64_t>(seconds), 1, kSecondsMax))));
  return status;
}

}  // namespace barn
