#include "worker/model/adapters.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// Scratch for as many rows as go into it, whatever the step has; at least one.
constexpr int64_t kScratchFloats = int64_t{1} << 21;
constexpr int64_t kRowsAtOnceMax = 256;

// The bytes lie still for as long as the matrix may read them.
absl::StatusOr<std::unique_ptr<Matrix>> Upload(Device& device, const FactorRows& factor, MatrixUse use) {
  return device.Upload(factor.dtype, {.rows = factor.rows, .cols = factor.cols}, factor.bytes, use, nullptr);
}

int64_t BytesOf(const AdapterPart::Pair& pair) { return std::ssize(pair.a->bytes) + std::ssize(pair.b.bytes); }

}  // namespace

void Step::Multiply(std::span<const Projection> projections, Tensor x) const {
  device.MatMul(projections, x);
  if (adapters != nullptr) adapters->slice->AddProducts(adapters->rows, projections, x);
}

void Step::MultiplyExact(const Projection& projection, Tensor x) const {
  device.MatMulExact(projection, x);
  if (adapters != nullptr) adapters->slice->AddProducts(adapters->rows, {&projection, 1}, x);
}

class LoadedAdapter {
 public:
  struct Factors {
    std::shared_ptr<const FactorRows> a_rows;  // What the matrices may borrow from.
    std::unique_ptr<const FactorRows> b_rows = nullptr;
    std::unique_ptr<Matrix> a = nullptr, b = nullptr;
    float scale = 1;
  };

  absl::Status Add(Device& device, const LoadedWeights::Origin& weight, AdapterPart::Pair pair) {
    Factors factors{.a_rows = std::move(pair.a), .scale = pair.scale};
    factors.b_rows = std::make_unique<const FactorRows>(std::move(pair.b));
    BARN_ASSIGN_OR_RETURN(factors.a,
                          Upload(device, *factors.a_rows, weight.looked_up ? MatrixUse::kRows : MatrixUse::kProducts));
    BARN_ASSIGN_OR_RETURN(factors.b, Upload(device, *factors.b_rows, MatrixUse::kProducts));
    if (!device.host_addressable()) factors.a_rows.reset(), factors.b_rows.reset();  // Copied.
    const MatrixShape a = factors.a->shape(), b = factors.b->shape();
    const int64_t gathered = weight.looked_up ? 0 : Scratch::RowFloats(a.cols);
    floats_per_row_ = std::max(floats_per_row_, gathered + Scratch::RowFloats(b.cols) + Scratch::RowFloats(b.rows));
    factors_[weight.matrix] = std::move(factors);
    return absl::OkStatus();
  }

  const Factors* Find(const Matrix* weight) const {
    const auto found = factors_.find(weight);
    return found == factors_.end() ? nullptr : &found->second;
  }

  bool complete() const { return complete_; }
  void Complete() { complete_ = true; }
  int64_t floats_per_row() const { return floats_per_row_; }

 private:
  std::map<const Matrix*, Factors> factors_;
  int64_t floats_per_row_ = 0;  // Of scratch, for the widest of them.
  bool complete_ = false;
};

// Some of a group's rows.
struct SliceAdapters::Chunk {
  std::vector<AdapterRun> runs;
  int64_t rows = 0;
};

SliceAdapters::SliceAdapters(Device& device, std::span<const LoadedWeights::Origin> weights)
    : device_(device), weights_(weights) {}

SliceAdapters::~SliceAdapters() = default;

absl::StatusOr<bool> SliceAdapters::Add(int64_t id, AdapterPart& part, int64_t bytes_max) {
  std::unique_ptr<LoadedAdapter>& adapter = adapters_[id];
  if (adapter == nullptr) adapter = std::make_unique<LoadedAdapter>();
  if (adapter->complete()) return absl::AlreadyExistsError(absl::StrFormat("adapter %d is loaded already", id));
  int64_t bytes = 0;
  for (; part.uploaded < part.pairs.size() && bytes < bytes_max; ++part.uploaded) {
    AdapterPart::Pair& pair = part.pairs[part.uploaded];
    const LoadedWeights::Origin& weight = weights_[pair.target];
    bytes += BytesOf(pair);
    if (absl::Status added = adapter->Add(device_, weight, std::move(pair)); !added.ok()) {
      adapters_.erase(id);
      return absl::Status(added.code(), absl::StrCat("adapter, tensor ", weight.tensor, ": ", added.message()));
    }
  }
  if (part.uploaded < part.pairs.size()) return false;
  if (absl::Status room = MakeRoom(*adapter); !room.ok()) {
    adapters_.erase(id);
    return room;
  }
  adapter->Complete();
  return true;
}

absl::Status SliceAdapters::MakeRoom(const LoadedAdapter& adapter) {
  const int64_t most = kRowsAtOnceMax * adapter.floats_per_row();
  const int64_t floats = std::max(std::min(most, kScratchFloats), adapter.floats_per_row());
  if (scratch_ && scratch_->bytes() >= floats * static_cast<int64_t>(sizeof(float))) return absl::OkStatus();
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, device_.Allocate(std::max<int64_t>(1, floats)));
  scratch_.emplace(std::move(buffer));
  return absl::OkStatus();
}

void SliceAdapters::Remove(int64_t id) { adapters_.erase(id); }

absl::Status SliceAdapters::Check(std::span<const AdapterScale> uses) const {
  for (size_t i = 0; i < uses.size(); ++i) {
    const auto found = adapters_.find(uses[i].id);
    if (found == adapters_.end() || !found->second->complete()) {
      return absl::InvalidArgumentError(absl::StrFormat("adapter %d is not loaded", uses[i].id));
    }
    for (size_t j = 0; j < i; ++j) {
      if (uses[j].id == uses[i].id) {
        return absl::InvalidArgumentError(absl::StrFormat("adapter %d is asked for twice", uses[i].id));
      }
    }
  }
  return absl::OkStatus();
}

void SliceAdapters::AddRow(int64_t row, float scale, std::vector<AdapterRun>& runs) {
  if (!runs.empty() && runs.back().first_row + runs.back().rows == row && runs.back().scale == scale) {
    ++runs.back().rows;
  } else {
    runs.push_back({.first_row = row, .rows = 1, .scale = scale});
  }
}

int64_t SliceAdapters::RowsAtOnce(int64_t floats_per_row) const {
  const int64_t floats = scratch_->bytes() / static_cast<int64_t>(sizeof(float));
  return std::max<int64_t>(1, std::min(kRowsAtOnceMax, floats / floats_per_row));
}

std::vector<SliceAdapters::Chunk> SliceAdapters::Chunks(const AdapterRows::Group& group, int64_t rows_max) {
  std::vector<Chunk> chunks(1);
  for (AdapterRun run : group.runs) {
    while (run.rows > 0) {
      if (chunks.back().rows == rows_max) chunks.emplace_back();
      Chunk& chunk = chunks.back();
      const int64_t rows = std::min(run.rows, rows_max - chunk.rows);
      chunk.runs.push_back({.first_row = run.first_row, .rows = rows, .scale = run.scale});
      chunk.rows += rows;
      run.first_row += rows;
      run.rows -= rows;
    }
  }
  return chunks;
}

void SliceAdapters::AddChunk(const Chunk& chunk, float scale, Tensor delta, Tensor out) {
  int64_t at = 0;
  for (const AdapterRun& run : chunk.runs) {
    device_.AddScaled(RowRange(out, run.first_row, run.rows), RowRange(delta, at, run.rows), run.scale * scale);
    at += run.rows;
  }
}

void SliceAdapters::AddProducts(const AdapterRows& rows, std::span<const Projection> projections, Tensor x) {
  for (const AdapterRows::Group& group : rows.groups) {
    int64_t floats_per_row = 0;
    for (const Projection& projection : projections) {
      const LoadedAdapter::Factors* factors = group.adapter->Find(projection.weight);
      if (factors == nullptr) continue;
      const MatrixShape b = factors->b->shape();
      floats_per_row = std::max(floats_per_row,
                                Scratch::RowFloats(x.cols) + Scratch::RowFloats(b.cols) + Scratch::RowFloats(b.rows));
    }
    if (floats_per_row == 0) continue;
    for (const Chunk& chunk : Chunks(group, RowsAtOnce(floats_per_row))) {
      const Scratch::Frame frame(*scratch_);
      Tensor in = RowRange(x, chunk.runs[0].first_row, chunk.rows);
      if (chunk.runs.size() > 1) {
        in = scratch_->Take(chunk.rows, x.cols);
        int64_t at = 0;
        for (const AdapterRun& run : chunk.runs) {
          device_.Copy(RowRange(x, run.first_row, run.rows), RowRange(in, at, run.rows));
          at += run.rows;
        }
      }
      for (const Projection& projection : projections) {
        const LoadedAdapter::Factors* factors = group.adapter->Find(projection.weight);
        if (factors == nullptr) continue;
        const Scratch::Frame of_weight(*scratch_);
        const MatrixShape b = factors->b->shape();
        const Tensor low = scratch_->Take(chunk.rows, b.cols), delta = scratch_->Take(chunk.rows, b.rows);
        const Projection down[] = {{factors->a.get(), nullptr, low}}, up[] = {{factors->b.get(), nullptr, delta}};
        device_.MatMul(down, in);
        device_.MatMul(up, low);
        AddChunk(chunk, factors->scale, delta, projection.out);
      }
    }
  }
}

void SliceAdapters::AddEmbedding(const AdapterRows& rows, const Matrix& table, std::span<const int32_t> tokens,
                                 Tensor out) {
  for (const AdapterRows::Group& group : rows.groups) {
    const LoadedAdapter::Factors* factors = group.adapter->Find(&table);
    if (factors == nullptr) continue;
    const MatrixShape b = factors->b->shape();
    for (const Chunk& chunk : Chunks(group, RowsAtOnce(Scratch::RowFloats(b.cols) + Scratch::RowFloats(b.rows)))) {
      const Scratch::Frame frame(*scratch_);
      const Tensor low = scratch_->Take(chunk.rows, b.cols), delta = scratch_->Take(chunk.rows, b.rows);
      std::vector<int32_t> ids;
      for (const AdapterRun& run : chunk.runs) {
        const auto first = tokens.begin() + run.first_row;
        ids.insert(ids.end(), first, first + run.rows);
      }
      const Projection up[] = {{factors->b.get(), nullptr, delta}};
      device_.EmbedRows(*factors->a, ids, low);
      device_.MatMul(up, low);
      AddChunk(chunk, factors->scale, delta, out);
    }
  }
}

}  // namespace barn
