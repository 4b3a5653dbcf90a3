#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace barn {

// One statement of SQL on its way. Values are bound in order, then rows are stepped through. One thread.
class Statement {
 public:
  Statement& Bind(int64_t value);
  Statement& Bind(std::string_view text);
  Statement& BindBlob(std::string_view bytes);

  // True: there is a row. Errors name the database and say what SQLite says. AlreadyExists: a row like that is there.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run() { return Step().status(); }

  // Of the current row. A value of another type reads as 0 or "".
  int64_t Int(int column) const;
  std::string Text(int column) const;

 private:
  friend class Database;
  struct Close {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(std::string path, sqlite3* connection, sqlite3_stmt* statement, absl::Status status);

  std::string path_;
  sqlite3* connection_;
  std::unique_ptr<sqlite3_stmt, Close> statement_;
  absl::Status status_;  // What went wrong before the first Step().
  int bound_ = 0;
};

// An SQLite database in a file that only its owner may read. Other processes may use it at the same time; a writer
// waits up to 5 s for another. One thread at a time.
class Database {
 public:
  // Makes the file and its folder if they are missing. FailedPrecondition: it cannot be opened, or is no database.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);

  Statement Prepare(std::string_view sql);
  // Several statements without values.
  absl::Status RunScript(const char* sql);
  int64_t last_insert_id() const;
  int64_t changes() const;  // Rows that the last statement changed.

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  Database(std::string path, sqlite3* connection) : path_(std::move(path)), connection_(connection) {}

  const std::string path_;
  const std::unique_ptr<sqlite3, Close> connection_;
};

}  // namespace barn
