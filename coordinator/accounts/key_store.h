#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/accounts/database.h"
#include "coordinator/accounts/key.h"

namespace barn {

// What a key has used of a model on one UTC day.
struct UsageRow {
  int64_t key_id = 0;
  std::string key_name;  // Only in what is read.
  std::string model;
  int64_t day = 0;  // Since 1970-01-01.
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t requests = 0;
};

struct AuditRow {
  absl::Time at;
  std::string actor;
  std::string action;
  std::string detail;
};

int64_t DayOf(absl::Time time);
std::string DayText(int64_t day);  // "2026-11-27"

// Keys, the usage ledger and the audit log in one SQLite file. Secrets are not in it, only their hashes. Thread-safe;
// calls may take as long as a disk does, so nobody who serves a client makes them.
class KeyStore {
 public:
  // FailedPrecondition: the file cannot be opened or holds something else.
  static absl::StatusOr<std::unique_ptr<KeyStore>> Open(const std::string& path);

  // Returns the secret, which is told this once. InvalidArgument: the name or a limit. AlreadyExists: a key of this
  // name is in use.
  absl::StatusOr<std::string> Create(std::string_view name, Role role, const KeyLimits& limits, std::string_view actor,
                                     absl::Time now);
  // NotFound: no key of this name is in use.
  absl::Status Revoke(std::string_view name, std::string_view actor, absl::Time now);
  absl::StatusOr<std::vector<Key>> List();
  // Keys in use, by the hash of their secrets.
  absl::StatusOr<std::map<std::string, Key>> ByHash();
  // Changes whenever another process has written.
  absl::StatusOr<int64_t> Version();

  // Adds to what the ledger has.
  absl::Status AddUsage(std::span<const UsageRow> rows);
  // From `first_day` on, newest day first; of one key or of all.
  absl::StatusOr<std::vector<UsageRow>> Usage(int64_t first_day, std::optional<int64_t> key_id = std::nullopt);

  absl::Status Audit(const AuditRow& row);
  absl::StatusOr<std::vector<AuditRow>> AuditLog(int64_t rows_max);  // Newest first.

 private:
  explicit KeyStore(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  absl::Status AuditLocked(const AuditRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mutex_);
};

// BARN_HOME/keys.db, by default in ~/.barn.
std::string DefaultKeysPath();

}  // namespace barn
