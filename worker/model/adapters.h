#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "sharding/adapter.h"
#include "worker/model/adapter_part.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// One adapter's factors for the weights of a slice.
class LoadedAdapter;

// The rows of a product that pass through an adapter: rows [first_row, first_row + rows), times scale.
struct AdapterRun {
  int64_t first_row = 0;
  int64_t rows = 0;
  float scale = 1;
};

// Which rows of a step pass through which adapters, by ascending id, so that the order of a row's additions is its own.
struct AdapterRows {
  struct Group {
    const LoadedAdapter* adapter = nullptr;
    std::vector<AdapterRun> runs = {};
  };
  std::vector<Group> groups;
};

// The adapters of a slice. W x becomes W x + scale * B (A x) for the rows that ask for it; each product is the device's
// own, of these rows alone, so that a row's bits are the same whoever else is in the step. One thread at a time.
class SliceAdapters {
 public:
  // weights: what the slice has loaded, outlives this.
  SliceAdapters(Device& device, std::span<const LoadedWeights::Origin> weights);
  ~SliceAdapters();

  // As Slice.
  absl::StatusOr<bool> Add(int64_t id, AdapterPart& part, int64_t bytes_max);
  void Remove(int64_t id);

  // InvalidArgument: an adapter that is not here, or twice.
  absl::Status Check(std::span<const AdapterScale> uses) const;

  // uses(i): the adapters of row i, as Check has seen them.
  template <class Uses>
  AdapterRows Rows(int64_t rows, const Uses& uses) const {
    AdapterRows all;
    for (const auto& [id, adapter] : adapters_) {
      AdapterRows::Group group{.adapter = adapter.get()};
      for (int64_t row = 0; row < rows; ++row) {
        for (const AdapterScale& use : uses(row)) {
          if (use.id == id) AddRow(row, use.scale, group.runs);
        }
      }
      if (!group.runs.empty()) all.groups.push_back(std::move(group));
    }
    return all;
  }

  // Adds the adapters' part to products of x that were just made.
  void AddProducts(const AdapterRows& rows, std::span<const Projection> projections, Tensor x);
  // The same for looked-up rows of the token embedding: out: [T, D].
  void AddEmbedding(const AdapterRows& rows, const Matrix& table, std::span<const int32_t> tokens, Tensor out);

 private:
  struct Chunk;

  static void AddRow(int64_t row, float scale, std::vector<AdapterRun>& runs);
  absl::Status MakeRoom(const LoadedAdapter& adapter);
  // Rows of a chunk, at least one, so that what one row takes fits the scratch.
  int64_t RowsAtOnce(int64_t floats_per_row) const;
  static std::vector<Chunk> Chunks(const AdapterRows::Group& group, int64_t rows_max);
  // delta, dense rows of the chunk's runs, times their scales, to out.
  void AddChunk(const Chunk& chunk, float scale, Tensor delta, Tensor out);

  Device& device_;
  const std::span<const LoadedWeights::Origin> weights_;
  std::map<int64_t, std::unique_ptr<LoadedAdapter>> adapters_;
  std::optional<Scratch> scratch_;  // As large as the largest adapter wants it.
};

// Rows that pass through adapters within a step, for the blocks; null in Step where there are none.
struct StepAdapters {
  SliceAdapters* slice = nullptr;
  AdapterRows rows;
};

}  // namespace barn
