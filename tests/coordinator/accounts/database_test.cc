#include "coordinator/accounts/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/coordinator/accounts/temporary_folder.h"

namespace barn {
namespace {

using ::testing::HasSubstr;

TEST(Database, KeepsWhatItIsTold) {
  const TemporaryFolder folder;
  const std::string path = folder.File("a/b/x.db");
  {
    auto database = *Database::Open(path);
    ASSERT_TRUE(database->RunScript("CREATE TABLE t (a INTEGER, b TEXT UNIQUE, c BLOB)").ok());
    EXPECT_TRUE(
        database->Prepare("INSERT INTO t VALUES (?, ?, ?)").Bind(7).Bind("x'; --").BindBlob({"\0\1", 2}).Run().ok());
    EXPECT_EQ(database->last_insert_id(), 1);
    EXPECT_EQ(database->changes(), 1);
    EXPECT_TRUE(absl::IsAlreadyExists(database->Prepare("INSERT INTO t VALUES (8, ?, '')").Bind("x'; --").Run()));
  }
  auto database = *Database::Open(path);
  Statement rows = database->Prepare("SELECT * FROM t");
  ASSERT_TRUE(*rows.Step());
  EXPECT_EQ(rows.Int(0), 7);
  EXPECT_EQ(rows.Text(1), "x'; --");
  EXPECT_EQ(rows.Text(2), std::string("\0\1", 2));
  EXPECT_FALSE(*rows.Step());
}

TEST(Database, OnlyItsOwnerMayReadIt) {
  const TemporaryFolder folder;
  auto database = *Database::Open(folder.File("x.db"));
  ASSERT_TRUE(database->RunScript("CREATE TABLE t (a)").ok());
  for (const auto& entry : std::filesystem::directory_iterator(folder.File(""))) {
    struct stat info;
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077, 0u) << entry.path();
  }
}

TEST(Database, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  std::ofstream(folder.File("text")) << "this is no database, whatever its name says, and it is long enough to be read";
  for (const std::string& path : {folder.File("text"), folder.File(""), std::string("/proc/none/x.db")}) {
    const auto opened = Database::Open(path);
    ASSERT_FALSE(opened.ok()) << path;
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr(path));
  }
  auto database = *Database::Open(folder.File("x.db"));
  EXPECT_THAT(std::string(database->Prepare("SELECT no_such").Bind(3).Run().message()), HasSubstr("no such column"));
}

}  // namespace
}  // namespace barn
