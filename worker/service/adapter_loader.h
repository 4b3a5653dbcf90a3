#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "proto/cluster.pb.h"
#include "sharding/gguf.h"
#include "worker/model/slice.h"

namespace barn {

// Brings the coordinator's adapters to one slice. With a load they are read at once; while steps run, threads of this
// class read files, and the compute thread uploads what they bring, a little between two steps. Used by the compute
// thread only.
class AdapterLoader {
 public:
  AdapterLoader();
  ~AdapterLoader();  // Waits for what is being read: one tensor.

  using Report = std::function<void(const proto::AdapterResult&)>;

  // The slice of a new epoch. Afterwards the adapters of the request are on it and no others, but for those whose
  // result, which goes to `report`, says why not. A slice that was kept keeps its adapters. bytes_max is for all of
  // them.
  void Begin(const proto::LoadRequest& request, std::shared_ptr<const GgufModel> model, std::shared_ptr<Slice> slice,
             int64_t bytes_max, const std::stop_token& stop, const Report& report);

  // Starts to read an adapter, or uploads some of what was read. The result, once there is one; until then `again`,
  // which any thread may call, asks for another call with the same request, or says that it cannot now.
  std::optional<proto::AdapterResult> Continue(const proto::LoadAdapter& request, std::function<bool()> again);

  // Forgets an adapter, also one that is being read. Unknown ones are ignored.
  void Remove(int64_t adapter_id);
  // Of the adapters on the slice, for as long as it lives.
  int64_t bytes() const;
  // The slice is no longer held here, and nothing is read any more.
  void End();

 private:
  class Reader;
  struct Loaded {
    std::string identity;
    int64_t bytes = 0;
  };

  absl::Status LoadNow(const proto::LoadAdapter& request, const std::stop_token& stop);
  absl::Status CheckRoom(int64_t bytes) const;
  bool Keeps(const proto::LoadRequest& request, int64_t adapter_id) const;

  std::shared_ptr<const GgufModel> model_;
  std::shared_ptr<Slice> slice_;
  std::weak_ptr<Slice> kept_;  // That the adapters are on.
  int64_t bytes_max_ = 0;
  std::map<int64_t, Loaded> loaded_;
  std::map<int64_t, std::unique_ptr<Reader>> readers_;
};

}  // namespace barn
