#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "coordinator/scheduler/core.h"
#include "proto/base/status.h"

// Adapters: they come with a plan or while it runs, and leave when nobody uses them any more.

namespace barn {
namespace {

constexpr size_t kErrorBytesMax = 500;

bool Uses(const Sequence& sequence, int64_t adapter) {
  return std::any_of(sequence.request.adapters.begin(), sequence.request.adapters.end(),
                     [&](const AdapterUse& use) { return use.id == adapter; });
}

bool AnyUses(const std::map<int64_t, Sequence>& sequences, int64_t adapter) {
  return std::any_of(sequences.begin(), sequences.end(), [&](const auto& one) { return Uses(one.second, adapter); });
}

}  // namespace

void Core::SendToStages(std::shared_ptr<const proto::CoordinatorMessage> message) {
  for (const int64_t id : deployment_.stage_workers()) actions_.sends.push_back({id, message});
}

void Core::Handle(const AdapterAsked& event) {
  if (absl::Status status = adapters_.Add(event.adapter_id, event.parts); !status.ok()) {
    actions_.adapters.push_back({event.adapter_id, std::move(status)});
    return;
  }
  if (!deployment_.running()) return;  // The next plan brings it.
  adapters_.Ask(event.adapter_id, deployment_.stage_workers());
  auto message = std::make_shared<proto::CoordinatorMessage>();
  proto::LoadAdapter& load = *message->mutable_load_adapter();
  load.set_epoch(deployment_.epoch());
  load.set_adapter_id(event.adapter_id);
  for (const std::string& part : event.parts) load.add_parts(part);
  SendToStages(std::move(message));
}

void Core::Handle(const AdapterDropped& event) { adapters_.Leave(event.adapter_id); }

void Core::BeginAdapters(size_t first_send) {
  adapters_.BeginEpoch(deployment_.stage_workers());
  if (adapters_.all().empty()) return;
  for (size_t i = first_send; i < actions_.sends.size(); ++i) {
    SendToWorker& send = actions_.sends[i];
    if (!send.message->has_load()) continue;
    auto with_adapters = std::make_shared<proto::CoordinatorMessage>(*send.message);
    adapters_.AddTo(*with_adapters->mutable_load());
    send.message = std::move(with_adapters);
  }
}

absl::Status Core::OnAdapterResult(const proto::AdapterResult& result, const Member& member) {
  const int64_t id = result.adapter_id();
  BARN_ASSIGN_OR_RETURN(const bool ready, adapters_.Answered(id, member.id));
  if (result.code() != 0) {
    DropAdapter(id, absl::Status(static_cast<absl::StatusCode>(result.code()),
                                 absl::StrFormat("worker %d '%s': %s", member.id, member.hello.name(),
                                                 result.error().substr(0, kErrorBytesMax))));
  } else if (ready) {
    actions_.adapters.push_back({id, absl::OkStatus()});
  }
  return absl::OkStatus();
}

void Core::DropAdapter(int64_t id, const absl::Status& reason) {
  if (adapters_.Find(id) == nullptr) return;
  EndWhere([&](const Sequence& sequence) { return Uses(sequence, id); },
           [&](const Sequence&) {
             return absl::UnavailableError(
                 absl::StrFormat("the request was cut off: its adapter is gone: %s", reason.message()));
           });
  actions_.adapters.push_back({id, reason});
  adapters_.Leave(id);
}

void Core::UnloadAdapters() {
  std::vector<int64_t> gone;
  for (const auto& [id, adapter] : adapters_.all()) {
    if (adapter.leaving && !AnyUses(sequences_.running(), id) && !AnyUses(sequences_.waiting(), id)) gone.push_back(id);
  }
  for (const int64_t id : gone) {
    adapters_.Erase(id);
    if (!deployment_.running()) continue;
    auto message = std::make_shared<proto::CoordinatorMessage>();
    message->mutable_unload_adapter()->set_epoch(deployment_.epoch());
    message->mutable_unload_adapter()->set_adapter_id(id);
    SendToStages(std::move(message));
  }
}

}  // namespace barn
