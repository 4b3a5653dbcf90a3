#include "coordinator/accounts/key_store.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr size_t kNameBytesMax = 64;
constexpr int64_t kWeightMax = 100;
constexpr int64_t kPruneEvery = 1000;  // Rows of the audit log.
constexpr int64_t kRefusalsKept = 100'000;

constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS keys (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
  tokens_per_day INTEGER NOT NULL, rate_count INTEGER NOT NULL, rate_seconds INTEGER NOT NULL,
  priority INTEGER NOT NULL, weight INTEGER NOT NULL, created INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS names_in_use ON keys (name) WHERE revoked = 0;
CREATE TABLE IF NOT EXISTS usage (
  key_id INTEGER NOT NULL REFERENCES keys (id), model TEXT NOT NULL, day INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
  PRIMARY KEY (key_id, model, day));
CREATE TABLE IF NOT EXISTS audit (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL);
)";
constexpr char kKeyColumns[] =
    "id, name, role, tokens_per_day, rate_count, rate_seconds, priority, weight, created, revoked, hash";

absl::StatusOr<Key> ReadKey(const Statement& row) {
  Key key;
  key.id = row.Int(0);
  key.name = row.Text(1);
  BARN_ASSIGN_OR_RETURN(key.role, ReadRole(row.Text(2)));
  key.limits = {.tokens_per_day = row.Int(3),
                .rate = {.count = row.Int(4), .period = absl::Seconds(std::max<int64_t>(1, row.Int(5)))},
                .priority = row.Int(6),
                .weight = row.Int(7)};
  key.created = absl::FromUnixSeconds(row.Int(8));
  key.revoked = row.Int(9) != 0;
  return key;
}

// A name goes to logs, labels and commands as it is.
absl::Status CheckName(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kNameBytesMax && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == '@';
  });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("the name of a key has 1 to %d letters, digits and -_.@, not '%s'",
                                                    kNameBytesMax, name.substr(0, kNameBytesMax)));
}

absl::Status CheckLimits(const KeyLimits& limits) {
  if (limits.priority < 0 || limits.priority > kKeyPriorityMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the priority is %d, it must be from 0 to %d", limits.priority, kKeyPriorityMax));
  }
  if (limits.weight < 1 || limits.weight > kWeightMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the weight is %d, it must be from 1 to %d", limits.weight, kWeightMax));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t DayOf(absl::Time time) { return absl::ToUnixSeconds(time) / 86400; }

std::string DayText(int64_t day) {
  return absl::FormatTime("%Y-%m-%d", absl::FromUnixSeconds(day * 86400), absl::UTCTimeZone());
}

std::string DefaultKeysPath() {
  if (const char* home = std::getenv("BARN_HOME"); home != nullptr && *home != '\0') {
    return std::string(home) + "/keys.db";
  }
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : ".") + "/.barn/keys.db";
}

absl::StatusOr<std::unique_ptr<KeyStore>> KeyStore::Open(const std::string& path) {
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path));
  BARN_RETURN_IF_ERROR(database->RunScript(kSchema));
  return std::unique_ptr<KeyStore>(new KeyStore(std::move(database)));
}

absl::StatusOr<std::string> KeyStore::Create(std::string_view name, Role role, const KeyLimits& limits,
                                             std::string_view actor, absl::Time now) {
  BARN_RETURN_IF_ERROR(CheckName(name));
  BARN_RETURN_IF_ERROR(CheckLimits(limits));
  const std::string secret = NewSecret();
  absl::MutexLock lock(&mutex_);
  const absl::Status added =
      database_
          ->Prepare(
              "INSERT INTO keys (name, role, hash, tokens_per_day, rate_count, rate_seconds, priority, weight, "
              "created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
          .Bind(name)
          .Bind(RoleName(role))
          .BindBlob(HashSecret(secret))
          .Bind(limits.tokens_per_day)
          .Bind(limits.rate.count)
          .Bind(absl::ToInt64Seconds(limits.rate.period))
          .Bind(limits.priority)
          .Bind(limits.weight)
          .Bind(absl::ToUnixSeconds(now))
          .Run();
  if (absl::IsAlreadyExists(added)) {
    return absl::AlreadyExistsError(absl::StrFormat("a key named '%s' is in use", name));
  }
  BARN_RETURN_IF_ERROR(added);
  BARN_RETURN_IF_ERROR(AuditLocked({.at = now,
                                    .actor = std::string(actor),
                                    .action = "key create",
                                    .detail = absl::StrFormat("%s role %s", name, RoleName(role))}));
  return secret;
}

absl::Status KeyStore::Revoke(std::string_view name, std::string_view actor, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  BARN_RETURN_IF_ERROR(database_->Prepare("UPDATE keys SET revoked = ? WHERE name = ? AND revoked = 0")
                           .Bind(std::max<int64_t>(1, absl::ToUnixSeconds(now)))
                           .Bind(name)
                           .Run());
  if (database_->changes() == 0) return absl::NotFoundError(absl::StrFormat("no key named '%s' is in use", name));
  return AuditLocked({.at = now, .actor = std::string(actor), .action = "key revoke", .detail = std::string(name)});
}

absl::StatusOr<std::vector<Key>> KeyStore::List() {
  absl::MutexLock lock(&mutex_);
  Statement rows = database_->Prepare(absl::StrFormat("SELECT %s FROM keys ORDER BY id", kKeyColumns));
  std::vector<Key> keys;
  while (true) {
    BARN_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return keys;
    BARN_ASSIGN_OR_RETURN(keys.emplace_back(), ReadKey(rows));
  }
}

absl::StatusOr<std::map<std::string, Key>> KeyStore::ByHash() {
  absl::MutexLock lock(&mutex_);
  Statement rows = database_->Prepare(absl::StrFormat("SELECT %s FROM keys WHERE revoked = 0", kKeyColumns));
  std::map<std::string, Key> keys;
  while (true) {
    BARN_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return keys;
    BARN_ASSIGN_OR_RETURN(keys[rows.Text(10)], ReadKey(rows));
  }
}

absl::StatusOr<int64_t> KeyStore::Version() {
  absl::MutexLock lock(&mutex_);
  Statement row = database_->Prepare("PRAGMA data_version");
  BARN_RETURN_IF_ERROR(row.Run());
  return row.Int(0);
}

absl::Status KeyStore::AddUsage(std::span<const UsageRow> rows) {
  absl::MutexLock lock(&mutex_);
  BARN_RETURN_IF_ERROR(database_->RunScript("BEGIN IMMEDIATE"));
  for (const UsageRow& row : rows) {
    const absl::Status status =
        database_
            ->Prepare(
                "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key_id, model, day) DO UPDATE SET "
                "prompt_tokens = prompt_tokens + ?4, generated_tokens = generated_tokens + ?5, "
                "requests = requests + ?6")
            .Bind(row.key_id)
            .Bind(row.model)
            .Bind(row.day)
            .Bind(row.prompt_tokens)
            .Bind(row.generated_tokens)
            .Bind(row.requests)
            .Run();
    if (!status.ok()) {
      database_->RunScript("ROLLBACK").IgnoreError();
      return status;
    }
  }
  return database_->RunScript("COMMIT");
}

absl::StatusOr<std::vector<UsageRow>> KeyStore::Usage(int64_t first_day, std::optional<int64_t> key_id) {
  absl::MutexLock lock(&mutex_);
  Statement rows = database_->Prepare(
      "SELECT key_id, name, model, day, prompt_tokens, generated_tokens, requests FROM usage JOIN keys "
      "ON keys.id = key_id WHERE day >= ?1 AND (?2 < 0 OR key_id = ?2) ORDER BY day DESC, name, model");
  rows.Bind(first_day).Bind(key_id.value_or(-1));
  std::vector<UsageRow> usage;
  while (true) {
    BARN_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return usage;
    usage.push_back({.key_id = rows.Int(0),
                     .key_name = rows.Text(1),
                     .model = rows.Text(2),
                     .day = rows.Int(3),
                     .prompt_tokens = rows.Int(4),
                     .generated_tokens = rows.Int(5),
                     .requests = rows.Int(6)});
  }
}

absl::Status KeyStore::Audit(const AuditRow& row) {
  absl::MutexLock lock(&mutex_);
  return AuditLocked(row);
}

absl::Status KeyStore::AuditLocked(const AuditRow& row) {
  BARN_RETURN_IF_ERROR(database_->Prepare("INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)")
                           .Bind(absl::ToUnixSeconds(row.at))
                           .Bind(row.actor)
                           .Bind(row.action)
                           .Bind(row.detail)
                           .Run());
  // What strangers cause does not grow without bound.
  if (const int64_t id = database_->last_insert_id(); id % kPruneEvery == 0) {
    return database_->Prepare("DELETE FROM audit WHERE action = 'refused' AND id < ?").Bind(id - kRefusalsKept).Run();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AuditRow>> KeyStore::AuditLog(int64_t rows_max) {
  absl::MutexLock lock(&mutex_);
  Statement rows = database_->Prepare("SELECT at, actor, action, detail FROM audit ORDER BY id DESC LIMIT ?");
  rows.Bind(rows_max);
  std::vector<AuditRow> log;
  while (true) {
    BARN_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return log;
    log.push_back({.at = absl::FromUnixSeconds(rows.Int(0)),
                   .actor = rows.Text(1),
                   .action = rows.Text(2),
                   .detail = rows.Text(3)});
  }
}

}  // namespace barn
