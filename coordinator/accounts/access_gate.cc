#include "coordinator/accounts/access_gate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

constexpr size_t kUnwrittenAuditMax = 20;  // Strangers who knock fill neither memory nor the disk.

bool Allows(Role role, Access access) {
  switch (access) {
    case Access::kPublic:
      return true;
    case Access::kGenerate:
    case Access::kRead:
      return role != Role::kMetrics;
    case Access::kMetrics:
      return role != Role::kUser;
    case Access::kAdmin:
      return role == Role::kAdmin;
  }
  return false;
}

void Add(const UsageRow& used, UsageRow& sum) {
  sum.prompt_tokens += used.prompt_tokens;
  sum.generated_tokens += used.generated_tokens;
  sum.requests += used.requests;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AccessGate>> AccessGate::Create(std::unique_ptr<KeyStore> store, absl::Time now,
                                                               absl::Duration maintain_every) {
  std::unique_ptr<AccessGate> gate(new AccessGate(std::move(store)));
  BARN_RETURN_IF_ERROR(gate->LoadKeys(now));
  if (maintain_every > absl::ZeroDuration()) {
    gate->thread_ = std::thread([gate = gate.get(), maintain_every] {
      while (!gate->stopping_.WaitForNotificationWithTimeout(maintain_every)) {
        if (const absl::Status status = gate->Maintain(absl::Now()); !status.ok()) {
          spdlog::error("keys and usage: {}", std::string(status.message()));
        }
      }
    });
  }
  return gate;
}

AccessGate::~AccessGate() {
  stopping_.Notify();
  if (thread_.joinable()) thread_.join();
  if (const absl::Status status = Maintain(absl::Now()); !status.ok()) {
    spdlog::error("usage was not written: {}", std::string(status.message()));
  }
}

absl::Status AccessGate::LoadKeys(absl::Time now) {
  // Before the keys: a change in between is seen again.
  BARN_ASSIGN_OR_RETURN(const int64_t version, store_->Version());
  if (version == version_) return absl::OkStatus();
  BARN_ASSIGN_OR_RETURN(const auto keys, store_->ByHash());
  BARN_ASSIGN_OR_RETURN(const std::vector<UsageRow> today, store_->Usage(DayOf(now)));
  absl::MutexLock lock(&mutex_);
  by_hash_.clear();
  for (auto& [id, live] : by_id_) live.in_use = false;
  for (const auto& [hash, key] : keys) {
    by_hash_[hash] = key.id;
    Live& live = by_id_[key.id];
    live.in_use = true;
    live.account = std::make_shared<const Account>(
        Account{.key_id = key.id, .name = key.name, .role = key.role, .limits = key.limits});
    if (live.day >= 0) continue;  // Known; what it has used is counted here.
    live.day = DayOf(now);
    live.requests_left = static_cast<double>(key.limits.rate.count);
    live.refilled = now;
    live.totals.name = key.name;
    for (const UsageRow& row : today) {
      if (row.key_id == key.id) live.tokens_today += row.prompt_tokens + row.generated_tokens;
    }
  }
  version_ = version;
  return absl::OkStatus();
}

Refusal AccessGate::Refuse(Refusal::Why why, std::string message, std::string_view client, absl::Time now) {
  if (unwritten_audit_.size() < kUnwrittenAuditMax) {
    unwritten_audit_.push_back({.at = now, .actor = std::string(client), .action = "refused", .detail = message});
  } else {
    ++audit_dropped_;
  }
  return {.why = why, .message = std::move(message)};
}

std::optional<Refusal> AccessGate::CheckLimits(Live& live, absl::Time now) {
  const KeyLimits& limits = live.account->limits;
  if (const int64_t day = DayOf(now); day != live.day) {
    live.day = day;
    live.tokens_today = 0;
  }
  if (limits.tokens_per_day > 0 && live.tokens_today >= limits.tokens_per_day) {
    return Refusal{.why = Refusal::Why::kQuota,
                   .message = absl::StrFormat("the key '%s' has used %d tokens today, %d are its daily quota",
                                              live.account->name, live.tokens_today, limits.tokens_per_day),
                   .retry_after_s = (live.day + 1) * 86400 - absl::ToUnixSeconds(now)};
  }
  if (limits.rate.count == 0) return std::nullopt;
  const double per_second = static_cast<double>(limits.rate.count) / absl::ToDoubleSeconds(limits.rate.period);
  const double passed = std::max(0.0, absl::ToDoubleSeconds(now - live.refilled));
  live.requests_left = std::min(static_cast<double>(limits.rate.count), live.requests_left + passed * per_second);
  live.refilled = std::max(live.refilled, now);
  if (live.requests_left >= 1) {
    live.requests_left -= 1;
    return std::nullopt;
  }
  return Refusal{
      .why = Refusal::Why::kRate,
      .message = absl::StrFormat("the key '%s' may make %s requests", live.account->name, RateText(limits.rate)),
      .retry_after_s = std::max<int64_t>(1, std::llround(std::ceil((1 - live.requests_left) / per_second)))};
}

std::variant<std::shared_ptr<const Account>, Refusal> AccessGate::Admit(std::string_view secret, Access access,
                                                                        std::string_view client, absl::Time now) {
  const std::string hash = secret.empty() ? "" : HashSecret(secret);
  absl::MutexLock lock(&mutex_);
  if (secret.empty()) {
    if (access == Access::kPublic) return nullptr;
    return Refusal{.why = Refusal::Why::kNoKey,
                   .message = "this server wants a key, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"};
  }
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) {
    if (access == Access::kPublic) return nullptr;
    return Refuse(Refusal::Why::kUnknownKey, "the key is not known here, or was revoked", client, now);
  }
  Live& live = by_id_.at(found->second);
  if (!Allows(live.account->role, access)) {
    return Refuse(Refusal::Why::kForbidden,
                  absl::StrFormat("the key '%s' has the role %s, which may not do this", live.account->name,
                                  RoleName(live.account->role)),
                  client, now);
  }
  if (access == Access::kGenerate) {
    if (std::optional<Refusal> refusal = CheckLimits(live, now); refusal.has_value()) return *std::move(refusal);
  }
  return live.account;
}

void AccessGate::Charge(const Account& account, const std::string& model, const UsageRow& used, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Live& live = by_id_.at(account.key_id);
  const int64_t day = DayOf(now);
  if (day == live.day) live.tokens_today += used.prompt_tokens + used.generated_tokens;
  UsageRow& row = live.unwritten[{model, day}];
  row.key_id = account.key_id;
  row.model = model;
  row.day = day;
  Add(used, row);
  live.totals.prompt_tokens += used.prompt_tokens;
  live.totals.generated_tokens += used.generated_tokens;
  live.totals.requests += used.requests;
}

absl::StatusOr<std::vector<UsageRow>> AccessGate::Usage(const Account& account, int64_t first_day) {
  BARN_RETURN_IF_ERROR(Maintain(absl::Now()));
  if (account.role == Role::kAdmin) return store_->Usage(first_day);
  return store_->Usage(first_day, account.key_id);
}

std::vector<KeyTotals> AccessGate::Totals() const {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, KeyTotals> by_name;  // A name may be used again after a key was revoked.
  for (const auto& [id, live] : by_id_) {
    KeyTotals& sum = by_name[live.totals.name];
    sum.name = live.totals.name;
    sum.prompt_tokens += live.totals.prompt_tokens;
    sum.generated_tokens += live.totals.generated_tokens;
    sum.requests += live.totals.requests;
  }
  std::vector<KeyTotals> totals;
  for (auto& [name, sum] : by_name) totals.push_back(std::move(sum));
  return totals;
}

absl::Status AccessGate::Maintain(absl::Time now) {
  absl::MutexLock maintenance(&maintain_mutex_);
  std::vector<UsageRow> usage;
  std::vector<AuditRow> audit;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [id, live] : by_id_) {
      for (auto& [model_and_day, row] : live.unwritten) usage.push_back(std::move(row));
      live.unwritten.clear();
    }
    audit.swap(unwritten_audit_);
    if (const int64_t dropped = std::exchange(audit_dropped_, 0); dropped > 0) {
      audit.push_back({.at = now, .actor = "barn", .action = "refused", .detail = absl::StrFormat("%d more", dropped)});
    }
  }
  if (!usage.empty()) {
    if (const absl::Status status = store_->AddUsage(usage); !status.ok()) {
      absl::MutexLock lock(&mutex_);
      for (const UsageRow& row : usage) {
        UsageRow& again = by_id_.at(row.key_id).unwritten[{row.model, row.day}];
        again.key_id = row.key_id;
        again.model = row.model;
        again.day = row.day;
        Add(row, again);
      }
      return status;
    }
  }
  for (const AuditRow& row : audit) BARN_RETURN_IF_ERROR(store_->Audit(row));
  return LoadKeys(now);
}

}  // namespace barn
