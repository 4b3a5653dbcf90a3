#include "worker/model/adapter_part.h"

#include <utility>

#include "proto/base/status.h"

namespace barn {

absl::StatusOr<std::unique_ptr<AdapterPart>> ReadAdapterPart(const Adapter& adapter,
                                                             std::span<const AdapterTarget> targets,
                                                             const std::stop_token& stop) {
  auto part = std::make_unique<AdapterPart>();
  for (const AdapterPair& pair : adapter.pairs()) {
    if (stop.stop_requested()) return absl::CancelledError("the adapter is not wanted any more");
    std::shared_ptr<const FactorRows> a;
    for (size_t i = 0; i < targets.size(); ++i) {
      const AdapterTarget& target = targets[i];
      if (target.tensor != pair.tensor) continue;
      if (a == nullptr) {
        BARN_ASSIGN_OR_RETURN(FactorRows rows, adapter.ReadA(pair));
        a = std::make_shared<const FactorRows>(std::move(rows));
      }
      BARN_ASSIGN_OR_RETURN(FactorRows b, adapter.ReadB(pair, target.first_row, target.rows));
      part->pairs.push_back({.target = i, .scale = pair.scale, .b = std::move(b), .a = a});
    }
    if (a == nullptr) part->others.push_back(pair.tensor);
  }
  return part;
}

}  // namespace barn
