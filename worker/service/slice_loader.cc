#include "worker/service/slice_loader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "proto/base/status.h"
#include "sharding/catalogue.h"
#include "sharding/plan.h"
#include "sharding/ranks.h"
#include "sharding/tiers.h"
#include "worker/service/machine.h"

namespace barn {
namespace {

constexpr int kPartsMax = 4096;
constexpr int64_t kKvBlocksMax = int64_t{1} << 24;
constexpr int64_t kKvBlockTokensMax = 4096;
constexpr int64_t kStepTokensMax = 1 << 16;
constexpr double kBytesMax = 1e18;

absl::Status CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    return absl::InvalidArgumentError(absl::StrFormat("load: %s is %d, allowed are %d to %d", name, value, low, high));
  }
  return absl::OkStatus();
}

KvType KvTypeOf(const proto::LoadRequest& request) { return ParseKvType(request.kv_type()).value_or(KvType::kF16); }

int RanksOf(const proto::LoadRequest& request) { return std::max(request.ranks(), 1); }

absl::Status CheckRequest(const proto::LoadRequest& request) {
  BARN_RETURN_IF_ERROR(CheckRange("number of parts", request.parts_size(), 1, kPartsMax));
  BARN_RETURN_IF_ERROR(CheckRange("stages", request.stages(), 1, 1 << 16));
  BARN_RETURN_IF_ERROR(CheckRange("stage", request.stage(), 0, request.stages() - 1));
  BARN_RETURN_IF_ERROR(CheckRange("kv_blocks", request.kv_blocks(), 1, kKvBlocksMax));
  BARN_RETURN_IF_ERROR(CheckRange("kv_block_tokens", request.kv_block_tokens(), 1, kKvBlockTokensMax));
  BARN_RETURN_IF_ERROR(CheckRange("step_tokens_max", request.step_tokens_max(), 1, kStepTokensMax));
  BARN_RETURN_IF_ERROR(CheckRange("context_tokens", request.context_tokens(), 0, INT32_MAX));
  BARN_RETURN_IF_ERROR(CheckRange("ranks", request.ranks(), 0, kRanksMax));
  BARN_RETURN_IF_ERROR(CheckRange("rank", request.rank(), 0, RanksOf(request) - 1));
  if (!request.kv_type().empty() && !ParseKvType(request.kv_type())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("load: kv_type \"%s\" is none of %s", request.kv_type(), absl::StrJoin(KvTypeNames(), ", ")));
  }
  return absl::OkStatus();
}

absl::Status CheckLayers(const proto::LoadRequest& request, const ModelConfig& config) {
  const int64_t first = request.first_layer(), last = request.last_layer();
  const bool is_first = request.stage() == 0, is_last = request.stage() == request.stages() - 1;
  if (first < 0 || last > config.layers || first >= last || is_first != (first == 0) ||
      is_last != (last == config.layers)) {
    return absl::InvalidArgumentError(absl::StrFormat("load: layers %d to %d of %d as stage %d of %d", first, last,
                                                      config.layers, request.stage() + 1, request.stages()));
  }
  return CheckRange("host_expert_layers", request.host_expert_layers(), 0, last - first);
}

absl::StatusOr<std::unique_ptr<GgufModel>> OpenParts(const proto::LoadRequest& request) {
  std::vector<std::shared_ptr<const Store>> parts;
  for (const std::string& reference : request.parts()) {
    BARN_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenStore(reference));
    parts.push_back(std::move(store));
  }
  return GgufModel::Read(std::move(parts));
}

std::string WeightsKey(const proto::LoadRequest& request, const GgufModel& model) {
  std::string key = absl::StrFormat("%d-%d of stage %d/%d", request.first_layer(), request.last_layer(),
                                    request.stage() == 0, request.stage() == request.stages() - 1);
  for (const std::shared_ptr<const Store>& part : model.parts()) {
    absl::StrAppend(&key, "\n", part->Identity());
  }
  return key;
}

std::string SliceKey(const proto::LoadRequest& request) {
  return absl::StrFormat("%d x %d %s, %d rows, context %d, rank %d of %d, %d of host", request.kv_blocks(),
                         request.kv_block_tokens(), request.kv_type(), request.step_tokens_max(),
                         request.context_tokens(), request.rank(), RanksOf(request), request.host_expert_layers());
}

// Catalogue entries of this worker's layers, embedding and head.
std::vector<const CatalogueEntry*> EntriesOf(const proto::LoadRequest& request, const Catalogue& catalogue) {
  ShardPlan plan;
  plan.stages.resize(request.stages());
  // Stages other than ours hold nothing; only their number tells which stage is the last.
  plan.stages[request.stage()].first_layer = request.first_layer();
  plan.stages[request.stage()].last_layer = request.last_layer();
  return TensorsOfStage(catalogue, plan, request.stage());
}

// KV bytes of the requested layers; kv_blocks and kv_block_tokens are bounded, so only the sum may exceed an int64.
double KvBytes(const proto::LoadRequest& request, const ModelConfig& config) {
  double token_bytes = 0;
  for (int64_t layer = request.first_layer(); layer < request.last_layer(); ++layer) {
    token_bytes += static_cast<double>(RankKvBytes(config.kv[layer], KvTypeOf(request), RanksOf(request)));
  }
  return token_bytes * static_cast<double>(request.kv_blocks() * request.kv_block_tokens());
}

absl::StatusOr<SliceMemory> NeededBytes(const proto::LoadRequest& request, const ModelConfig& config,
                                        std::span<const CatalogueEntry* const> entries) {
  double bytes = KvBytes(request, config);
  int64_t host_bytes = 0;
  for (const CatalogueEntry* entry : entries) {
    const int64_t entry_bytes = RankBytes(*entry, config, request.rank(), RanksOf(request));
    if (OnHost(*entry, request.last_layer(), request.host_expert_layers())) {
      host_bytes += entry_bytes;
    } else {
      bytes += static_cast<double>(entry_bytes);
    }
  }
  if (bytes > kBytesMax) {
    return absl::ResourceExhaustedError(absl::StrFormat("layers %d to %d need %.0f bytes, no worker has so many",
                                                        request.first_layer(), request.last_layer(), bytes));
  }
  return SliceMemory{.bytes = static_cast<int64_t>(bytes), .host_bytes = host_bytes};
}

absl::Status CheckMemory(const proto::LoadRequest& request, const ModelConfig& config, const SliceMemory& needed,
                         const SliceMemory& memory) {
  if (needed.bytes > memory.bytes) {
    const auto kv_bytes = static_cast<int64_t>(KvBytes(request, config));
    return absl::ResourceExhaustedError(
        absl::StrFormat("layers %d to %d need %d bytes of weights and %d of KV cache, this worker offers %d",
                        request.first_layer(), request.last_layer(), needed.bytes - kv_bytes, kv_bytes, memory.bytes));
  }
  if (needed.host_bytes > memory.host_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("experts of %d layers need %d bytes of the host's memory, this worker offers %d",
                        request.host_expert_layers(), needed.host_bytes, memory.host_bytes));
  }
  return absl::OkStatus();
}

int64_t ExpertBytesPerToken(const proto::LoadRequest& request, std::span<const CatalogueEntry* const> entries,
                            const ModelConfig& config) {
  int64_t bytes = 0;
  for (const CatalogueEntry* entry : entries) {
    if (entry->experts > 0) {
      bytes += RankBytes(*entry, config, request.rank(), RanksOf(request)) / entry->experts * config.experts_used;
    }
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Cache*> SliceLoader::CacheFor(const GgufModel& model) {
  for (const std::shared_ptr<const Store>& part : model.parts()) {
    if (absl::IsUnimplemented(part->Map(0, 1).status()) && cache_ == nullptr) {
      BARN_ASSIGN_OR_RETURN(
          cache_, Cache::Open({.directory = options_.cache_directory, .bytes_max = options_.cache_bytes_max}));
    }
  }
  return cache_.get();
}

void SliceLoader::Unload() {
  kept_.slice.reset();  // Before the weights that it borrows.
  kept_ = {};
  held_ = {};
}

absl::Status SliceLoader::LoadWeights(std::unique_ptr<GgufModel> model, std::span<const CatalogueEntry* const> entries,
                                      std::string key, const FetchOptions& fetch) {
  Unload();  // First: old and new may not fit together.
  std::vector<GgufTensor> tensors;
  for (const CatalogueEntry* entry : entries) {
    tensors.push_back(entry->tensor);
  }
  BARN_ASSIGN_OR_RETURN(Cache* const cache, CacheFor(*model));
  BARN_ASSIGN_OR_RETURN(kept_.weights, FetchedWeights::Create(model->parts(), tensors, cache, fetch));
  kept_.model = std::move(model);
  kept_.weights_key = std::move(key);
  return absl::OkStatus();
}

bool IsRemote(const proto::LoadRequest& request) {
  return std::any_of(request.parts().begin(), request.parts().end(),
                     [](const std::string& part) { return absl::StrContains(part, "://"); });
}

absl::Status SliceLoader::Fetch(const proto::LoadRequest& request, std::stop_token stop,
                                const std::function<void(const FetchProgress&)>& on_progress) const {
  BARN_RETURN_IF_ERROR(CheckRequest(request));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<GgufModel> model, OpenParts(request));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*model));
  BARN_RETURN_IF_ERROR(CheckLayers(request, config));
  BARN_ASSIGN_OR_RETURN(const Catalogue catalogue, BuildCatalogue(*model));
  std::vector<GgufTensor> tensors;
  for (const CatalogueEntry* entry : EntriesOf(request, catalogue)) tensors.push_back(entry->tensor);
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<Cache> cache,
                        Cache::Open({.directory = options_.cache_directory, .bytes_max = options_.cache_bytes_max}));
  return FetchedWeights::Create(
             model->parts(), tensors, cache.get(),
             {.streams = options_.fetch_streams, .on_progress = on_progress, .stop = std::move(stop)})
      .status();
}

absl::StatusOr<SliceLoader::Loaded> SliceLoader::Load(const proto::LoadRequest& request, const SliceMemory& memory,
                                                      std::stop_token stop,
                                                      const std::function<void(const FetchProgress&)>& on_progress) {
  BARN_RETURN_IF_ERROR(CheckRequest(request));
  if (request.deterministic() && !options_.device->batch_invariant()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("load: results of %s depend on the batch; leave --deterministic out or this worker",
                        options_.device->Describe()));
  }
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<GgufModel> model, OpenParts(request));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*model));
  BARN_RETURN_IF_ERROR(CheckLayers(request, config));
  BARN_ASSIGN_OR_RETURN(const Catalogue catalogue, BuildCatalogue(*model));
  const std::vector<const CatalogueEntry*> entries = EntriesOf(request, catalogue);
  BARN_ASSIGN_OR_RETURN(const SliceMemory needed, NeededBytes(request, config, entries));
  BARN_RETURN_IF_ERROR(CheckMemory(request, config, needed, memory));

  Loaded loaded;
  loaded.expert_bytes_per_token = ExpertBytesPerToken(request, entries, config);
  std::string key = WeightsKey(request, *model);
  if (kept_.weights == nullptr || kept_.weights_key != key) {
    const FetchOptions fetch{.streams = options_.fetch_streams, .on_progress = on_progress, .stop = stop};
    BARN_RETURN_IF_ERROR(LoadWeights(std::move(model), entries, std::move(key), fetch));
    held_ = needed;
    loaded.bytes_moved = kept_.weights->bytes_moved();
  }
  if (kept_.slice == nullptr || kept_.slice_key != SliceKey(request)) {
    kept_.slice.reset();
    Device* host_device = nullptr;
    if (request.host_expert_layers() > 0) {
      BARN_ASSIGN_OR_RETURN(host_device, options_.host_device());
    }
    const int64_t of_host = host_device != nullptr ? needed.host_bytes : needed.bytes;
    BARN_ASSIGN_OR_RETURN(kept_.slice, Slice::Create({.model = kept_.model.get(),
                                                      .weights = kept_.weights.get(),
                                                      .device = options_.device,
                                                      .first_layer = request.first_layer(),
                                                      .last_layer = request.last_layer(),
                                                      .is_first = request.stage() == 0,
                                                      .is_last = request.stage() == request.stages() - 1,
                                                      .kv_blocks = request.kv_blocks(),
                                                      .kv_block_tokens = request.kv_block_tokens(),
                                                      .kv_type = KvTypeOf(request),
                                                      .step_tokens_max = request.step_tokens_max(),
                                                      .borrow_experts = of_host > AvailableMemoryBytes(),
                                                      .host_device = host_device,
                                                      .host_expert_layers = request.host_expert_layers(),
                                                      .context_tokens = request.context_tokens(),
                                                      .rank = request.rank(),
                                                      .ranks = RanksOf(request)}));
    kept_.slice_key = SliceKey(request);
    held_ = needed;
  }
  loaded.slice = kept_.slice;
  return loaded;
}

}  // namespace barn
