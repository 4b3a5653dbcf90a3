#include "coordinator/scheduler/members.h"

#include "absl/strings/str_format.h"

namespace barn {
namespace {

constexpr int kMembersMax = 1024;
constexpr size_t kNameBytesMax = 256;
constexpr int64_t kMemoryBytesMax = int64_t{1} << 50;  // 1 PiB: sums over all members stay far from overflow.
constexpr int kThreadsMax = 1 << 16;
constexpr size_t kRankAddressBytesMax = 1024;

absl::Status CheckText(const char* field, const std::string& text) {
  if (text.size() <= kNameBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("Hello.%s has %d bytes, at most %d are allowed", field, text.size(), kNameBytesMax));
}

absl::Status CheckRankAddress(const std::string& address) {
  if (address.size() <= kRankAddressBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("a rank address has %d bytes, at most %d are allowed", address.size(), kRankAddressBytesMax));
}

absl::Status CheckHello(const proto::Hello& hello, const std::string& version) {
  if (hello.version() != version) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the worker runs version '%.64s', the coordinator '%s'; use the same build on both", hello.version(), version));
  }
  for (const absl::Status& status :
       {CheckText("name", hello.name()), CheckText("device", hello.device()),
        CheckText("exchange_address", hello.exchange_address()), CheckText("memory_domain", hello.memory_domain()),
        CheckRankAddress(hello.rank_address())}) {
    if (!status.ok()) return status;
  }
  if (hello.exchange_address().empty()) return absl::InvalidArgumentError("Hello.exchange_address is empty");
  if (hello.memory_bytes() <= 0 || hello.memory_bytes() > kMemoryBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("Hello.memory_bytes is %d, outside 1..%d", hello.memory_bytes(), kMemoryBytesMax));
  }
  if (hello.host_memory_bytes() < 0 || hello.host_memory_bytes() > kMemoryBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("Hello.host_memory_bytes is %d, outside 0..%d", hello.host_memory_bytes(), kMemoryBytesMax));
  }
  if (hello.threads() < 1 || hello.threads() > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("Hello.threads is %d, outside 1..%d", hello.threads(), kThreadsMax));
  }
  return absl::OkStatus();
}

}  // namespace

std::shared_ptr<const proto::CoordinatorMessage> WelcomeMessage(int64_t worker_id, absl::Duration heartbeat,
                                                                absl::Duration lease) {
  auto message = std::make_shared<proto::CoordinatorMessage>();
  message->mutable_welcome()->set_worker_id(worker_id);
  message->mutable_welcome()->set_heartbeat_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(heartbeat)));
  message->mutable_welcome()->set_lease_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(lease)));
  return message;
}

int64_t EpochOf(const proto::WorkerMessage& message) {
  switch (message.message_case()) {
    case proto::WorkerMessage::kLoadProgress:
      return message.load_progress().epoch();
    case proto::WorkerMessage::kLoadResult:
      return message.load_result().epoch();
    case proto::WorkerMessage::kStepResult:
      return message.step_result().epoch();
    case proto::WorkerMessage::kStepFailure:
      return message.step_failure().epoch();
    case proto::WorkerMessage::kAdapterResult:
      return message.adapter_result().epoch();
    default:
      return 0;
  }
}

WorkerState Member::State(absl::Time now) const {
  return {.id = id,
          .name = hello.name(),
          .device = hello.device(),
          .memory_bytes = hello.memory_bytes(),
          .stage = stage,
          .first_layer = first_layer,
          .last_layer = last_layer,
          .load_bytes_done = load_bytes_done,
          .load_bytes_total = load_bytes_total,
          .load_bytes_per_second = load_bytes_per_second,
          .loaded = loaded,
          .busy_us = time.busy_us(),
          .wait_us = time.wait_us(),
          .since_ready = time.SinceBegin(now),
          .recent = time.Recent(now)};
}

absl::Status Members::Join(absl::Time now, int64_t id, const proto::Hello& hello, const std::string& version) {
  if (absl::Status status = CheckHello(hello, version); !status.ok()) return status;
  if (members_.contains(id)) return absl::AlreadyExistsError(absl::StrFormat("worker %d has joined already", id));
  if (size() >= kMembersMax) {
    return absl::ResourceExhaustedError(absl::StrFormat("%d workers have joined, no more are accepted", kMembersMax));
  }
  Member& member = members_[id];
  member.id = id;
  member.hello = hello;
  member.heard = now;
  return absl::OkStatus();
}

absl::Status Members::OnHeartbeat(const proto::Heartbeat& heartbeat, Member& member) {
  if (absl::Status status = CheckRankAddress(heartbeat.rank_address()); !status.ok()) return status;
  if (heartbeat.rank_address() != member.hello.rank_address()) member.hello.set_rank_address(heartbeat.rank_address());
  return absl::OkStatus();
}

Member* Members::Find(int64_t id) {
  const auto found = members_.find(id);
  return found == members_.end() ? nullptr : &found->second;
}

std::vector<int64_t> Members::Expired(absl::Time now, absl::Duration lease) const {
  std::vector<int64_t> expired;
  for (const auto& [id, member] : members_) {
    if (now - member.heard > lease) expired.push_back(id);
  }
  return expired;
}

void Members::ClearStages() {
  for (auto& [id, member] : members_) {
    member.stage = -1;
    member.rank = 0;
    member.first_layer = member.last_layer = 0;
    member.load_bytes_done = member.load_bytes_total = 0;
    member.load_bytes_per_second = 0;
    member.loaded = false;
    member.steps_answered = 0;
    member.time = {};
  }
}

}  // namespace barn
