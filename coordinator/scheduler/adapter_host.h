#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace barn {

// Where adapters of the served model are brought to its workers. Thread-safe.
class AdapterHost {
 public:
  virtual ~AdapterHost() = default;

  // Asks every worker for its part of an adapter, now and in each plan to come; parts: as Adapter::Open. Returns the id
  // for AdapterUse. `on_change` is called on a thread of the host and must not block: with OK when requests may name
  // the adapter, with an error when it is not there (any more), and then never again.
  virtual int64_t LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) = 0;
  // New requests may not name it any more; it leaves when the last of the others has ended.
  virtual void UnloadAdapter(int64_t id) = 0;
};

}  // namespace barn
