#include "tests/sharding/gguf_fuzz_entry.h"

#include <memory>
#include <string>
#include <vector>

#include "kernels/check.h"
#include "sharding/plan.h"
#include "sharding/plan_text.h"
#include "sharding/show.h"

namespace barn {
namespace {

void CheckMessage(const absl::Status& status) {
  BARN_CHECK(!status.message().empty());
  for (const char c : status.message()) BARN_CHECK(c >= 0x20 && c < 0x7f);
}

void RunPlan(const Catalogue& catalogue, const ModelConfig& config, const std::string& memory_domain) {
  std::vector<PlanNode> nodes = {{.name = "a", .memory_bytes = int64_t{1} << 20},
                                 {.name = "b", .memory_bytes = int64_t{1} << 30},
                                 {.name = "c", .memory_bytes = int64_t{1} << 40},
                                 {.name = "d", .memory_bytes = int64_t{1} << 40}};
  for (PlanNode& node : nodes) {
    node.memory_domain = memory_domain;
    if (!memory_domain.empty()) node.memory_bytes = int64_t{1} << 40;
  }
  const auto plan = PlanShards(catalogue, config, nodes, {});
  if (!plan.ok()) return CheckMessage(plan.status());
  for (size_t i = 0; i < plan->stages.size(); ++i) {
    int64_t bytes = 0;
    for (const CatalogueEntry* entry : TensorsOfStage(catalogue, *plan, static_cast<int>(i))) {
      bytes += entry->tensor.size_bytes;
    }
    const std::vector<PlanRank>& ranks = plan->stages[i].ranks;
    BARN_CHECK(ranks.size() > 1 || bytes == ranks[0].weights_bytes);
  }
  BARN_CHECK(!PlanText(*plan, nodes).empty() && PlanJson(*plan, nodes).is_object());
}

void RunModel(const std::shared_ptr<const Store>& store, const GgufOptions& options) {
  std::vector<std::shared_ptr<const Store>> parts = {store};
  const auto model = GgufModel::Read(std::move(parts), options);
  if (!model.ok()) return CheckMessage(model.status());
  for (const GgufTensor& tensor : (*model)->tensors()) {
    BARN_CHECK(tensor.size_bytes > 0 && tensor.offset_bytes >= 0);
    BARN_CHECK(options.header_only || tensor.offset_bytes + tensor.size_bytes <= store->size_bytes());
  }
  const auto catalogue = BuildCatalogue(**model);
  if (!catalogue.ok()) return CheckMessage(catalogue.status());
  int64_t bytes = 0;
  for (const int64_t role_bytes : catalogue->bytes_by_role) bytes += role_bytes;
  BARN_CHECK(bytes == catalogue->total_bytes);
  BARN_CHECK(!ShowText(**model, *catalogue).empty() && !ShowJson(**model, *catalogue).dump().empty());
  const auto config = ReadModelConfig(**model);
  if (!config.ok()) return CheckMessage(config.status());
  RunPlan(*catalogue, *config, "");
  RunPlan(*catalogue, *config, "one machine");
}

}  // namespace

void RunGgufOnBytes(const uint8_t* data, size_t size) {
  const std::shared_ptr<const Store> store =
      MemoryStore("fuzz.gguf", std::string(reinterpret_cast<const char*>(data), size));
  RunModel(store, {.header_only = false});
  RunModel(store, {.header_only = true});
}

}  // namespace barn
