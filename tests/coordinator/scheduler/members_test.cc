#include "coordinator/scheduler/members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

proto::Hello GoodHello() {
  proto::Hello hello;
  hello.set_version("1");
  hello.set_name("box");
  hello.set_memory_bytes(1000);
  hello.set_threads(2);
  hello.set_exchange_address("box:1");
  return hello;
}

TEST(Members, RefusesWhatNoWorkerSays) {
  struct Case {
    const char* part_of_message;
    absl::StatusCode code;
    std::function<void(proto::Hello&)> change;
  };
  const Case cases[] = {
      {"version 'other'", absl::StatusCode::kFailedPrecondition, [](auto& hello) { hello.set_version("other"); }},
      {"name has 300 bytes", absl::StatusCode::kInvalidArgument, [](auto& h) { h.set_name(std::string(300, 'x')); }},
      {"exchange_address is empty", absl::StatusCode::kInvalidArgument, [](auto& h) { h.clear_exchange_address(); }},
      {"memory_bytes is -1", absl::StatusCode::kInvalidArgument, [](auto& h) { h.set_memory_bytes(-1); }},
      {"memory_bytes is 9223372036854775807", absl::StatusCode::kInvalidArgument,
       [](auto& h) { h.set_memory_bytes(INT64_MAX); }},
      {"threads is 0", absl::StatusCode::kInvalidArgument, [](auto& h) { h.set_threads(0); }},
  };
  for (const Case& one : cases) {
    Members members;
    proto::Hello hello = GoodHello();
    one.change(hello);
    const absl::Status status = members.Join(absl::UnixEpoch(), 1, hello, "1");
    EXPECT_EQ(status.code(), one.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.part_of_message));
    EXPECT_EQ(members.size(), 0);
  }
}

TEST(Members, AnIdJoinsOnceAndOnlySoManyJoin) {
  Members members;
  EXPECT_TRUE(members.Join(absl::UnixEpoch(), 1, GoodHello(), "1").ok());
  EXPECT_EQ(members.Join(absl::UnixEpoch(), 1, GoodHello(), "1").code(), absl::StatusCode::kAlreadyExists);
  for (int id = 2; id <= 1024; ++id) EXPECT_TRUE(members.Join(absl::UnixEpoch(), id, GoodHello(), "1").ok());
  EXPECT_EQ(members.Join(absl::UnixEpoch(), 2000, GoodHello(), "1").code(), absl::StatusCode::kResourceExhausted);
}

TEST(Members, TheLeaseRunsFromTheLastMessage) {
  Members members;
  const absl::Time start = absl::UnixEpoch();
  ASSERT_TRUE(members.Join(start, 1, GoodHello(), "1").ok());
  ASSERT_TRUE(members.Join(start, 2, GoodHello(), "1").ok());
  members.Find(2)->heard = start + absl::Seconds(2);
  EXPECT_THAT(members.Expired(start + absl::Seconds(3), absl::Seconds(3)), IsEmpty());
  EXPECT_THAT(members.Expired(start + absl::Seconds(4), absl::Seconds(3)), ElementsAre(1));
  EXPECT_THAT(members.Expired(start + absl::Seconds(6), absl::Seconds(3)), ElementsAre(1, 2));
}

}  // namespace
}  // namespace barn
