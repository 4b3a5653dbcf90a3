#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/scheduler/request.h"
#include "proto/cluster.pb.h"

namespace barn {

inline constexpr size_t kAdaptersMax = 256;  // Of a model.
inline constexpr size_t kAdaptersPerRequestMax = 8;
inline constexpr float kAdapterScaleMax = 1000;

// InvalidArgument: too many, one twice, or a scale that is no number or too large.
absl::Status CheckAdapterUses(std::span<const AdapterUse> uses);

// Whose cached prefixes a request may share: those of its tenant that passed through the same adapters.
std::string CacheScope(const Tenant& tenant, std::span<const AdapterUse> uses);

// The adapters of a model: what the workers of each plan are asked to load, and who has answered.
class Adapters {
 public:
  struct Adapter {
    std::vector<std::string> parts;
    std::set<int64_t> asked;  // Workers of the current epoch that have not answered.
    bool with_load = false;   // They were asked with the load of the epoch.
    bool ready = false;       // It has been on every worker of a plan; requests may name it.
    bool leaving = false;     // No new request may.
  };

  // ResourceExhausted: there are too many. InvalidArgument: no parts.
  absl::Status Add(int64_t id, std::vector<std::string> parts);
  void Leave(int64_t id);
  void Erase(int64_t id) { all_.erase(id); }

  // A new plan: its workers are asked for every adapter with the load; nobody of the plan before is asked any more.
  void BeginEpoch(const std::vector<int64_t>& workers);
  void AddTo(proto::LoadRequest& load) const;
  void Ask(int64_t id, const std::vector<int64_t>& workers);

  // True: the adapter has become ready. InvalidArgument: the worker was not asked for it.
  absl::StatusOr<bool> Answered(int64_t id, int64_t worker);
  // InvalidArgument: a worker that says its load is done has not said what became of an adapter that came with it.
  absl::Status CheckLoaded(int64_t worker) const;

  // NotFound, Unavailable (still loading): a request may not name them.
  absl::Status CheckReady(std::span<const AdapterUse> uses) const;

  const Adapter* Find(int64_t id) const;
  const std::map<int64_t, Adapter>& all() const { return all_; }

 private:
  std::map<int64_t, Adapter> all_;
};

}  // namespace barn
