#include "coordinator/accounts/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr int kBusyWaitMs = 5000;

absl::Status ErrorOf(const std::string& path, sqlite3* connection) {
  const std::string text = absl::StrFormat("%s: %s", path, sqlite3_errmsg(connection));
  switch (sqlite3_errcode(connection)) {
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(text);
    default:
      return absl::FailedPreconditionError(text);
  }
}

}  // namespace

void Statement::Close::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void Database::Close::operator()(sqlite3* connection) const { sqlite3_close(connection); }

Statement::Statement(std::string path, sqlite3* connection, sqlite3_stmt* statement, absl::Status status)
    : path_(std::move(path)), connection_(connection), statement_(statement), status_(std::move(status)) {}

Statement& Statement::Bind(int64_t value) {
  if (status_.ok() && sqlite3_bind_int64(statement_.get(), ++bound_, value) != SQLITE_OK) {
    status_ = ErrorOf(path_, connection_);
  }
  return *this;
}

Statement& Statement::Bind(std::string_view text) {
  if (status_.ok() && sqlite3_bind_text(statement_.get(), ++bound_, text.data(), static_cast<int>(text.size()),
                                        SQLITE_TRANSIENT) != SQLITE_OK) {
    status_ = ErrorOf(path_, connection_);
  }
  return *this;
}

Statement& Statement::BindBlob(std::string_view bytes) {
  if (status_.ok() && sqlite3_bind_blob(statement_.get(), ++bound_, bytes.data(), static_cast<int>(bytes.size()),
                                        SQLITE_TRANSIENT) != SQLITE_OK) {
    status_ = ErrorOf(path_, connection_);
  }
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  BARN_RETURN_IF_ERROR(status_);
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return ErrorOf(path_, connection_);
  }
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int count = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? "" : std::string(static_cast<const char*>(bytes), static_cast<size_t>(count));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  // Made before SQLite would make it, so that nobody else can read it even for a moment.
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: %s", path, std::error_code(errno, std::generic_category()).message()));
  }
  close(file);
  sqlite3* connection = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(path, connection));
  if (opened != SQLITE_OK) return ErrorOf(path, connection);
  sqlite3_busy_timeout(connection, kBusyWaitMs);
  // The write-ahead log lets a command read and write while a server runs.
  BARN_RETURN_IF_ERROR(
      database->RunScript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"));
  return database;
}

Statement Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int result =
      sqlite3_prepare_v2(connection_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  return Statement(path_, connection_.get(), statement,
                   result == SQLITE_OK ? absl::OkStatus() : ErrorOf(path_, connection_.get()));
}

absl::Status Database::RunScript(const char* sql) {
  if (sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return ErrorOf(path_, connection_.get());
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(connection_.get()); }
int64_t Database::changes() const { return sqlite3_changes(connection_.get()); }

}  // namespace barn
