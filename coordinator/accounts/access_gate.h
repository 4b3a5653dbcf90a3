#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "coordinator/accounts/key_store.h"

namespace barn {

// What a request wants to do.
enum class Access { kPublic, kGenerate, kRead, kMetrics, kAdmin };

// Whom a request is for. Plain data; the gate keeps what is counted.
struct Account {
  int64_t key_id = 0;
  std::string name;
  Role role = Role::kUser;
  KeyLimits limits;
};

struct Refusal {
  // kNoKey, kUnknownKey: 401. kForbidden: 403. kRate, kQuota: 429.
  enum class Why { kNoKey, kUnknownKey, kForbidden, kRate, kQuota };
  Why why = Why::kNoKey;
  std::string message;
  int64_t retry_after_s = 0;  // With kRate and kQuota.
};

struct KeyTotals {
  std::string name;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t requests = 0;
};

// Says who may do what, and how much of it. Lives in memory, so that no client waits for a disk: Maintain() writes what
// was used and takes in keys that a command has made or revoked. Thread-safe.
class AccessGate {
 public:
  // Reads the keys. With `maintain_every` above zero a thread calls Maintain().
  static absl::StatusOr<std::unique_ptr<AccessGate>> Create(std::unique_ptr<KeyStore> store, absl::Time now,
                                                            absl::Duration maintain_every = absl::Seconds(1));
  // Writes what is not written yet.
  ~AccessGate();

  // Who holds `secret`, if they may. kGenerate counts against the rate, and is refused once the tokens of the day are
  // used up: what runs at that moment may still finish. `client` is for the audit log.
  std::variant<std::shared_ptr<const Account>, Refusal> Admit(std::string_view secret, Access access,
                                                              std::string_view client, absl::Time now);

  // Enters what a request has used so far.
  void Charge(const Account& account, const std::string& model, const UsageRow& used, absl::Time now);

  // The ledger from `first_day` on, what is not written yet included. A user sees their own rows.
  absl::StatusOr<std::vector<UsageRow>> Usage(const Account& account, int64_t first_day);

  std::vector<KeyTotals> Totals() const;  // Since the start, by name.

  // Writes usage, reads changed keys. A failure is tried again next time.
  absl::Status Maintain(absl::Time now);

 private:
  struct Live {
    std::shared_ptr<const Account> account;
    bool in_use = true;
    int64_t day = -1;
    int64_t tokens_today = 0;
    double requests_left = 0;  // Of the rate.
    absl::Time refilled;
    std::map<std::pair<std::string, int64_t>, UsageRow> unwritten;  // By model and day.
    KeyTotals totals;
  };

  explicit AccessGate(std::unique_ptr<KeyStore> store) : store_(std::move(store)) {}
  absl::Status LoadKeys(absl::Time now);
  Refusal Refuse(Refusal::Why why, std::string message, std::string_view client, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::optional<Refusal> CheckLimits(Live& live, absl::Time now);

  const std::unique_ptr<KeyStore> store_;
  int64_t version_ = -1;  // Of the store; only for whoever maintains.

  mutable absl::Mutex mutex_;
  std::map<int64_t, Live> by_id_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t, std::less<>> by_hash_ ABSL_GUARDED_BY(mutex_);
  std::vector<AuditRow> unwritten_audit_ ABSL_GUARDED_BY(mutex_);
  int64_t audit_dropped_ ABSL_GUARDED_BY(mutex_) = 0;

  absl::Mutex maintain_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // One maintenance at a time.
  absl::Notification stopping_;
  std::thread thread_;
};

}  // namespace barn
