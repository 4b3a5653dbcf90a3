#include "coordinator/scheduler/adapters.h"

#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace barn {

absl::Status CheckAdapterUses(std::span<const AdapterUse> uses) {
  if (uses.size() > kAdaptersPerRequestMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d adapters in a request, at most %d", uses.size(), kAdaptersPerRequestMax));
  }
  std::set<int64_t> seen;
  for (const AdapterUse& use : uses) {
    if (!(std::fabs(use.scale) <= kAdapterScaleMax)) {
      return absl::InvalidArgumentError(absl::StrFormat("adapter %d: a scale of %g, outside -%g..%g", use.id, use.scale,
                                                        kAdapterScaleMax, kAdapterScaleMax));
    }
    if (!seen.insert(use.id).second) {
      return absl::InvalidArgumentError(absl::StrFormat("adapter %d is named twice", use.id));
    }
  }
  return absl::OkStatus();
}

std::string CacheScope(const Tenant& tenant, std::span<const AdapterUse> uses) {
  if (uses.empty()) return tenant.name;
  // 0xff is in no UTF-8 text, so no tenant's name begins so. The order of uses changes nothing.
  std::map<int64_t, uint32_t> scales;
  for (const AdapterUse& use : uses) scales[use.id] = std::bit_cast<uint32_t>(use.scale);
  std::string scope = "\xff";
  for (const auto& [id, scale] : scales) absl::StrAppend(&scope, id, ":", scale, ",");
  return absl::StrCat(scope, "\xff", tenant.name);
}

absl::Status Adapters::Add(int64_t id, std::vector<std::string> parts) {
  if (all_.size() >= kAdaptersMax) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d adapters are loaded, at most %d", all_.size(), kAdaptersMax));
  }
  if (parts.empty()) return absl::InvalidArgumentError(absl::StrFormat("adapter %d has no files", id));
  all_[id].parts = std::move(parts);
  return absl::OkStatus();
}

void Adapters::Leave(int64_t id) {
  if (const auto found = all_.find(id); found != all_.end()) found->second.leaving = true;
}

void Adapters::BeginEpoch(const std::vector<int64_t>& workers) {
  for (auto& [id, adapter] : all_) {
    adapter.asked = {workers.begin(), workers.end()};
    adapter.with_load = true;
  }
}

void Adapters::AddTo(proto::LoadRequest& load) const {
  for (const auto& [id, adapter] : all_) {
    proto::LoadAdapter& wire = *load.add_adapters();
    wire.set_epoch(load.epoch());
    wire.set_adapter_id(id);
    for (const std::string& part : adapter.parts) wire.add_parts(part);
  }
}

void Adapters::Ask(int64_t id, const std::vector<int64_t>& workers) {
  Adapter& adapter = all_.at(id);
  adapter.asked = {workers.begin(), workers.end()};
  adapter.with_load = false;
}

absl::StatusOr<bool> Adapters::Answered(int64_t id, int64_t worker) {
  const auto found = all_.find(id);
  if (found == all_.end()) return false;  // It has left meanwhile.
  Adapter& adapter = found->second;
  if (adapter.asked.erase(worker) == 0) {
    return absl::InvalidArgumentError(absl::StrFormat("an answer about adapter %d, which was not asked for", id));
  }
  if (!adapter.asked.empty() || adapter.ready) return false;
  adapter.ready = true;
  return true;
}

absl::Status Adapters::CheckLoaded(int64_t worker) const {
  for (const auto& [id, adapter] : all_) {
    if (adapter.with_load && adapter.asked.contains(worker)) {
      return absl::InvalidArgumentError(absl::StrFormat("a LoadResult without a word about adapter %d", id));
    }
  }
  return absl::OkStatus();
}

absl::Status Adapters::CheckReady(std::span<const AdapterUse> uses) const {
  for (const AdapterUse& use : uses) {
    const Adapter* adapter = Find(use.id);
    if (adapter == nullptr || adapter->leaving) {
      return absl::NotFoundError(absl::StrFormat("adapter %d is not loaded", use.id));
    }
    if (!adapter->ready) return absl::UnavailableError(absl::StrFormat("adapter %d is being loaded", use.id));
  }
  return absl::OkStatus();
}

const Adapters::Adapter* Adapters::Find(int64_t id) const {
  const auto found = all_.find(id);
  return found == all_.end() ? nullptr : &found->second;
}

}  // namespace barn
