#include "coordinator/http/served_adapters.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/adapter.h"

namespace barn {
namespace {

constexpr size_t kNameBytesMax = 256;

absl::Status CheckName(absl::string_view name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > ' ' && c != 0x7f; });
  if (!name.empty() && name.size() <= kNameBytesMax && printable) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "an adapter's name has 1 to %d bytes and no spaces, this one has %d", kNameBytesMax, name.size()));
}

}  // namespace

struct ServedAdapters::State {
  mutable absl::Mutex mutex;
  std::map<int64_t, ServedAdapter> by_number ABSL_GUARDED_BY(mutex);
  std::map<std::string, absl::Status> failed ABSL_GUARDED_BY(mutex);  // Until somebody has waited for it.
  int64_t next_number ABSL_GUARDED_BY(mutex) = 0;
  bool closed ABSL_GUARDED_BY(mutex) = false;

  ServedAdapter* Find(absl::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (auto& [number, adapter] : by_number) {
      if (adapter.name == name) return &adapter;
    }
    return nullptr;
  }

  void OnChange(int64_t number, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    const auto found = by_number.find(number);
    if (found == by_number.end()) return;
    if (status.ok()) {
      found->second.ready = true;
      return;
    }
    spdlog::warn("adapter {}: {}", found->second.name, std::string(status.message()));
    failed[found->second.name] = status;
    by_number.erase(found);
  }
};

ServedAdapters::ServedAdapters(AdapterHost& host, const GgufModel& model, std::vector<std::string> model_names)
    : host_(host), model_(model), model_names_(std::move(model_names)), state_(std::make_shared<State>()) {}

ServedAdapters::~ServedAdapters() { Close(); }

absl::Status ServedAdapters::Begin(const std::string& name, const std::string& reference, float scale, absl::Time now) {
  BARN_RETURN_IF_ERROR(CheckName(name));
  if (std::find(model_names_.begin(), model_names_.end(), name) != model_names_.end()) {
    return absl::AlreadyExistsError(absl::StrFormat("'%s' is the model's own name", name));
  }
  BARN_ASSIGN_OR_RETURN(std::vector<std::string> parts, AdapterParts(reference));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<Adapter> header, Adapter::Open(parts, model_));
  absl::MutexLock lock(&state_->mutex);
  if (state_->Find(name) != nullptr) {
    return absl::AlreadyExistsError(absl::StrFormat("an adapter '%s' is loaded already", name));
  }
  state_->failed.erase(name);
  const int64_t number = state_->next_number++;
  // The host calls back on a thread of its own, which waits for the lock.
  const int64_t id = host_.LoadAdapter(
      std::move(parts), [state = state_, number](absl::Status status) { state->OnChange(number, status); });
  state_->by_number[number] = {.number = number,
                               .name = name,
                               .reference = reference,
                               .scale = scale,
                               .created = absl::ToUnixSeconds(now),
                               .parameters = header->parameters(),
                               .id = id};
  return absl::OkStatus();
}

absl::Status ServedAdapters::Wait(const std::string& name, absl::Duration timeout) {
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) {
    const ServedAdapter* adapter = state.Find(name);
    return state.closed || adapter == nullptr || adapter->ready;
  };
  if (!state.mutex.AwaitWithTimeout(absl::Condition(&settled), timeout)) {
    return absl::DeadlineExceededError(
        absl::StrFormat("the workers have not loaded '%s' within %s", name, absl::FormatDuration(timeout)));
  }
  if (const auto failed = state.failed.find(name); failed != state.failed.end()) {
    absl::Status status = failed->second;
    state.failed.erase(failed);
    return status;
  }
  const ServedAdapter* adapter = state.Find(name);
  if (adapter != nullptr && adapter->ready) return absl::OkStatus();
  return state.closed ? absl::CancelledError("the server is shutting down")
                      : absl::AbortedError(absl::StrFormat("'%s' was unloaded", name));
}

absl::Status ServedAdapters::Unload(absl::string_view name) {
  int64_t id = 0;
  {
    absl::MutexLock lock(&state_->mutex);
    const ServedAdapter* adapter = state_->Find(name);
    if (adapter == nullptr) return absl::NotFoundError(absl::StrFormat("there is no adapter '%s'", name));
    id = adapter->id;
    state_->by_number.erase(adapter->number);
  }
  host_.UnloadAdapter(id);
  return absl::OkStatus();
}

absl::Status ServedAdapters::SetAlways(const std::map<int64_t, float>& scales) {
  absl::MutexLock lock(&state_->mutex);
  for (const auto& [number, scale] : scales) {
    if (!state_->by_number.contains(number)) {
      return absl::NotFoundError(absl::StrFormat("there is no adapter with id %d", number));
    }
  }
  for (auto& [number, adapter] : state_->by_number) {
    const auto found = scales.find(number);
    adapter.always = found == scales.end() ? 0 : found->second;
  }
  return absl::OkStatus();
}

void ServedAdapters::Close() {
  absl::MutexLock lock(&state_->mutex);
  state_->closed = true;
}

std::vector<ServedAdapter> ServedAdapters::List() const {
  absl::MutexLock lock(&state_->mutex);
  std::vector<ServedAdapter> all;
  for (const auto& [number, adapter] : state_->by_number) all.push_back(adapter);
  return all;
}

std::optional<ServedAdapter> ServedAdapters::Find(absl::string_view name) const {
  absl::MutexLock lock(&state_->mutex);
  const ServedAdapter* adapter = state_->Find(name);
  return adapter == nullptr ? std::nullopt : std::optional(*adapter);
}

std::optional<ServedAdapter> ServedAdapters::FindNumber(int64_t number) const {
  absl::MutexLock lock(&state_->mutex);
  const auto found = state_->by_number.find(number);
  return found == state_->by_number.end() ? std::nullopt : std::optional(found->second);
}

std::vector<AdapterUse> ServedAdapters::UsesOf(absl::string_view name) const {
  absl::MutexLock lock(&state_->mutex);
  if (const ServedAdapter* adapter = state_->Find(name); adapter != nullptr) {
    return {{.id = adapter->id, .scale = adapter->scale}};
  }
  std::vector<AdapterUse> uses;
  for (const auto& [number, adapter] : state_->by_number) {
    if (adapter.always != 0) uses.push_back({.id = adapter.id, .scale = adapter.always});
  }
  return uses;
}

std::string ServedAdapters::NameOf(const std::vector<AdapterUse>& uses) const {
  if (uses.size() != 1) return "";
  absl::MutexLock lock(&state_->mutex);
  for (const auto& [number, adapter] : state_->by_number) {
    if (adapter.id == uses[0].id) return adapter.name;
  }
  return "";
}

}  // namespace barn
