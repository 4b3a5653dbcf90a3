// `barn key` and `barn usage`: who may use a server, and what they have used.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/accounts/key_store.h"
#include "coordinator/accounts/usage_json.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/options.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using Json = nlohmann::json;

struct KeySettings {
  std::string keys;  // The file.
  std::string name;
  std::string role = "user";
  std::string tokens_per_day;
  std::string rate;
  KeyLimits limits;
  int days = 31;
  int audit_rows = 50;
  bool json = false;
};

absl::StatusOr<std::unique_ptr<KeyStore>> OpenStore(const KeySettings& settings) {
  return KeyStore::Open(settings.keys.empty() ? DefaultKeysPath() : settings.keys);
}

// Who runs this command, for the audit log.
std::string Actor() {
  const char* name = std::getenv("USER");
  return absl::StrFormat("uid %d %s", getuid(), name != nullptr ? name : "");
}

absl::Status CreateKey(KeySettings settings) {
  BARN_ASSIGN_OR_RETURN(const Role role, ReadRole(settings.role));
  if (!settings.tokens_per_day.empty()) {
    BARN_ASSIGN_OR_RETURN(settings.limits.tokens_per_day, ReadCount(settings.tokens_per_day));
  }
  if (!settings.rate.empty()) {
    BARN_ASSIGN_OR_RETURN(settings.limits.rate, ReadRate(settings.rate));
  }
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyStore> store, OpenStore(settings));
  BARN_ASSIGN_OR_RETURN(const std::string secret,
                        store->Create(settings.name, role, settings.limits, Actor(), absl::Now()));
  if (settings.json) {
    std::printf("%s\n", Json({{"name", settings.name}, {"role", settings.role}, {"key", secret}}).dump().c_str());
  } else {
    std::printf("%s\n", secret.c_str());
    std::fprintf(stderr, "This is the key of '%s'. It is not stored and cannot be shown again.\n",
                 settings.name.c_str());
  }
  return absl::OkStatus();
}

Json KeyJson(const Key& key) {
  return {{"name", key.name},
          {"role", std::string(RoleName(key.role))},
          {"tokens_per_day", key.limits.tokens_per_day},
          {"rate", RateText(key.limits.rate)},
          {"priority", key.limits.priority},
          {"weight", key.limits.weight},
          {"created", absl::FormatTime(absl::RFC3339_sec, key.created, absl::UTCTimeZone())},
          {"revoked", key.revoked}};
}

absl::Status ListKeys(const KeySettings& settings) {
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyStore> store, OpenStore(settings));
  BARN_ASSIGN_OR_RETURN(const std::vector<Key> keys, store->List());
  if (settings.json) {
    Json list = Json::array();
    for (const Key& key : keys) list.push_back(KeyJson(key));
    std::printf("%s\n", list.dump().c_str());
    return absl::OkStatus();
  }
  std::printf("%-20s %-8s %14s %10s %8s %6s  %s\n", "name", "role", "tokens/day", "rate", "priority", "weight",
              "created");
  for (const Key& key : keys) {
    const std::string tokens = key.limits.tokens_per_day == 0 ? "-" : absl::StrCat(key.limits.tokens_per_day);
    std::printf("%-20s %-8s %14s %10s %8d %6d  %s%s\n", key.name.c_str(), std::string(RoleName(key.role)).c_str(),
                tokens.c_str(), RateText(key.limits.rate).c_str(), static_cast<int>(key.limits.priority),
                static_cast<int>(key.limits.weight),
                absl::FormatTime("%Y-%m-%d", key.created, absl::UTCTimeZone()).c_str(), key.revoked ? ", revoked" : "");
  }
  return absl::OkStatus();
}

absl::Status RevokeKey(const KeySettings& settings) {
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyStore> store, OpenStore(settings));
  BARN_RETURN_IF_ERROR(store->Revoke(settings.name, Actor(), absl::Now()));
  std::printf("revoked: %s\n", settings.name.c_str());
  return absl::OkStatus();
}

absl::Status PrintAudit(const KeySettings& settings) {
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyStore> store, OpenStore(settings));
  BARN_ASSIGN_OR_RETURN(const std::vector<AuditRow> rows, store->AuditLog(settings.audit_rows));
  Json list = Json::array();
  for (const AuditRow& row : rows) {
    const std::string at = absl::FormatTime(absl::RFC3339_sec, row.at, absl::UTCTimeZone());
    list.push_back({{"at", at}, {"actor", row.actor}, {"action", row.action}, {"detail", row.detail}});
    if (!settings.json) {
      std::printf("%s  %-24s %-12s %s\n", at.c_str(), row.actor.c_str(), row.action.c_str(), row.detail.c_str());
    }
  }
  if (settings.json) std::printf("%s\n", list.dump().c_str());
  return absl::OkStatus();
}

absl::Status PrintUsage(const KeySettings& settings) {
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyStore> store, OpenStore(settings));
  BARN_ASSIGN_OR_RETURN(const std::vector<UsageRow> rows, store->Usage(DayOf(absl::Now()) - settings.days + 1));
  Json list = Json::array();
  if (!settings.json) {
    std::printf("%-10s  %-20s %-24s %14s %14s %9s\n", "day", "key", "model", "prompt tokens", "generated", "requests");
  }
  for (const UsageRow& row : rows) {
    if (!settings.name.empty() && row.key_name != settings.name) continue;
    list.push_back(UsageJson(row));
    if (settings.json) continue;
    std::printf("%-10s  %-20s %-24s %14s %14s %9s\n", DayText(row.day).c_str(), row.key_name.c_str(), row.model.c_str(),
                absl::StrCat(row.prompt_tokens).c_str(), absl::StrCat(row.generated_tokens).c_str(),
                absl::StrCat(row.requests).c_str());
  }
  if (settings.json) std::printf("%s\n", list.dump().c_str());
  return absl::OkStatus();
}

CLI::App* AddPart(CLI::App* parent, const char* name, const char* help, KeySettings& settings) {
  CLI::App* command = parent->add_subcommand(name, help);
  AddKeysFile(command, settings.keys);
  command->add_flag("--json", settings.json, "As JSON");
  return command;
}

}  // namespace

void AddKeyCommand(CLI::App& app) {
  CLI::App* key = app.add_subcommand("key", "API keys: create, list, revoke; the audit log");
  key->require_subcommand(1);
  auto settings = std::make_shared<KeySettings>();
  CLI::App* create = AddPart(key, "create", "Make a key and print it, once", *settings);
  create->add_option("--name", settings->name, "Whose key it is")->required();
  create->add_option("--role", settings->role, "user, admin (also others' usage and metrics) or metrics (only those)")
      ->check(CLI::IsMember({"user", "admin", "metrics"}))
      ->capture_default_str();
  create->add_option("--tokens-per-day", settings->tokens_per_day, "Of prompts and answers by UTC day, as 2M");
  create->add_option("--rate", settings->rate, "Requests, as 60/min");
  create->add_option("--priority", settings->limits.priority, "0 to 9; a higher one goes first")->capture_default_str();
  create->add_option("--weight", settings->limits.weight, "1 to 100; share beside others of the same priority")
      ->capture_default_str();
  SetWork(create, [settings] { return CreateKey(*settings); });
  SetWork(AddPart(key, "list", "All keys and their limits", *settings), [settings] { return ListKeys(*settings); });
  CLI::App* revoke = AddPart(key, "revoke", "End a key; a running server knows within a second or two", *settings);
  revoke->add_option("name", settings->name, "Whose key")->required();
  SetWork(revoke, [settings] { return RevokeKey(*settings); });
  CLI::App* audit = AddPart(key, "audit", "Who made and revoked keys, and what was refused", *settings);
  audit->add_option("-n,--rows", settings->audit_rows, "The newest so many")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  SetWork(audit, [settings] { return PrintAudit(*settings); });
}

void AddUsageCommand(CLI::App& app) {
  auto settings = std::make_shared<KeySettings>();
  CLI::App* command = AddPart(&app, "usage", "Tokens and requests by day, key and model", *settings);
  command->add_option("--name", settings->name, "Of one key");
  command->add_option("--days", settings->days, "Today and the days before")
      ->check(CLI::Range(1, 36500))
      ->capture_default_str();
  SetWork(command, [settings] { return PrintUsage(*settings); });
}

}  // namespace barn
