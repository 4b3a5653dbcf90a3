#include "kernels/cuda/gpu_device.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/rope.h"

namespace barn {
namespace {

gpu::Rows RowsOf(Tensor x) { return {.data = x.data, .rows = x.rows, .cols = x.cols, .stride = x.stride}; }

}  // namespace

class GpuDevice::GpuBuffer final : public Buffer {
 public:
  GpuBuffer(GpuDevice& device, std::byte* memory, int64_t bytes) : device_(device), memory_(memory), bytes_(bytes) {}
  ~GpuBuffer() override { device_.Release(memory_); }
  float* data() override { return reinterpret_cast<float*>(memory_); }
  int64_t floats() const override { return bytes_ / static_cast<int64_t>(sizeof(float)); }

 private:
  GpuDevice& device_;
  std::byte* memory_;
  int64_t bytes_;
};

absl::StatusOr<std::unique_ptr<GpuDevice>> GpuDevice::Create(GpuOptions options) {
  absl::StatusOr<std::vector<gpu::DeviceInfo>> devices = gpu::ListDevices();
  if (!devices.ok()) return devices.status();
  if (options.index < 0 || options.index >= static_cast<int>(devices->size())) {
    return absl::InvalidArgumentError(absl::StrFormat("GPU %d: this machine has %d", options.index, devices->size()));
  }
  absl::Status status = gpu::UseDevice(options.index);
  if (!status.ok()) return status;
  gpu::DeviceInfo info = (*devices)[static_cast<size_t>(options.index)];
  const int64_t bytes = options.memory_bytes > 0 ? options.memory_bytes : info.memory_bytes / 10 * 9;
  absl::StatusOr<std::unique_ptr<DeviceArena>> arena = DeviceArena::Create(bytes);
  if (!arena.ok()) return arena.status();
  absl::StatusOr<gpu::Stream> stream = gpu::CreateStream();
  if (!stream.ok()) return stream.status();
  auto device = absl::WrapUnique(new GpuDevice(options.index, std::move(info), *std::move(arena), *stream));
  if (options.graphs) {
    device->log_ = std::make_unique<gpu::WorkLog>(*stream);
    device->graphs_ = std::make_unique<GraphCache>(*stream);
  }
  return device;
}

GpuDevice::~GpuDevice() {
  Wait();
  graphs_.reset();
  log_.reset();
  for (const PinnedArea& area : {read_back_, ranked_}) gpu::FreePinned(area.memory);
  for (const gpu::Event event : events_) gpu::DestroyEvent(event);
  gpu::DestroyStream(stream_);
}

std::string GpuDevice::Describe() const {
  return absl::StrCat(gpu::DevicePrefix(), ":", index_, " ", info_.name, ", ", arena_->bytes() >> 20, " MiB");
}

absl::Status GpuDevice::status() const { return status_.ok() ? staged_.status() : status_; }

DeviceStream GpuDevice::stream() {
  if (Ready()) StartLogged();
  return {.handle = stream_,
          .device = info_.id,
          .library = gpu::ExchangeLibrary(),
          .read_bytes_per_s = info_.read_bytes_per_s};
}

int64_t GpuDevice::Mark() {
  if (!Ready()) return marks_;
  gpu::Event& event = events_[static_cast<size_t>((marks_ + 1) % kMarks)];
  if (event == nullptr) {
    absl::StatusOr<gpu::Event> made = gpu::CreateEvent();
    if (!made.ok()) {
      Fail(made.status());
      return marks_;
    }
    event = *made;
  }
  StartLogged();
  gpu::Record(event, stream_);
  return ++marks_;
}

bool GpuDevice::Reached(int64_t mark) {
  BARN_CHECK(mark <= marks_ && mark > marks_ - kMarks);
  const gpu::Event event = events_[static_cast<size_t>(mark % kMarks)];
  if (event == nullptr || !Ready()) return true;
  const absl::StatusOr<bool> done = gpu::IsDone(event);
  Fail(done.status());
  return !done.ok() || *done;
}

bool GpuDevice::Ready() {
  Fail(gpu::UseDevice(index_));
  return status().ok();
}

void GpuDevice::StartLogged() {
  if (log_ != nullptr && log_->size() > 0) Fail(graphs_->Start(*log_));
}

void GpuDevice::Drain() {
  Fail(gpu::UseDevice(index_));
  StartLogged();
  Fail(gpu::Synchronize(stream_));
}

void GpuDevice::Wait() {
  Drain();
  staged_.Recycle();
}

void GpuDevice::Release(std::byte* memory) {
  Drain();  // Work that was put on the stream may still use it.
  arena_->Free(memory);
}

std::byte* GpuDevice::Grow(Area& area, int64_t bytes) {
  if (area.bytes < bytes) {
    Release(area.memory);
    area = {};
    absl::StatusOr<std::byte*> memory = arena_->Allocate(bytes);
    if (!memory.ok()) {
      Fail(memory.status());
      return nullptr;
    }
    area = {*memory, bytes};
  }
  return area.memory;
}

std::byte* GpuDevice::Grow(PinnedArea& area, int64_t bytes) {
  if (area.bytes < bytes) {
    Drain();
    gpu::FreePinned(area.memory);
    area = {};
    absl::StatusOr<void*> memory = gpu::AllocatePinned(static_cast<size_t>(bytes));
    if (!memory.ok()) {
      Fail(memory.status());
      return nullptr;
    }
    area = {static_cast<std::byte*>(*memory), bytes};
  }
  return area.memory;
}

absl::StatusOr<const void*> GpuDevice::GridOf(DType dtype) {
  const gpu::GridTable table = gpu::FindGridTable(dtype);
  if (table.bytes == 0) return nullptr;
  const auto known = grids_.find(dtype);
  if (known != grids_.end()) return known->second;
  absl::StatusOr<std::byte*> memory = arena_->Allocate(static_cast<int64_t>(table.bytes));
  if (!memory.ok()) return memory.status();
  absl::Status status = gpu::Upload(*memory, table.points, table.bytes);
  if (!status.ok()) return status;
  grids_[dtype] = *memory;
  return *memory;
}

absl::StatusOr<std::unique_ptr<Matrix>> GpuDevice::Upload(DType dtype, MatrixShape shape,
                                                          std::span<const std::byte> bytes, MatrixUse /*use*/,
                                                          BytesCopied copied) {
  if (!Ready()) return status();
  absl::StatusOr<GpuMatrix::Source> source = GpuMatrix::Check(dtype, shape, bytes);
  if (!source.ok()) return source.status();
  absl::StatusOr<const void*> grid = GridOf(dtype);
  if (!grid.ok()) return grid.status();
  absl::StatusOr<std::byte*> memory = arena_->Allocate(GpuMatrix::DeviceBytes(*source));
  if (!memory.ok()) return memory.status();
  const auto free = [this, memory = *memory] { Release(memory); };
  absl::StatusOr<std::unique_ptr<GpuMatrix>> matrix = GpuMatrix::Create(*source, *memory, *grid, free);
  if (!matrix.ok()) return matrix.status();
  if (copied != nullptr) copied(bytes);
  return *std::move(matrix);
}

absl::StatusOr<std::unique_ptr<Buffer>> GpuDevice::AllocateZeroed(int64_t bytes) {
  if (!Ready()) return status();
  absl::StatusOr<std::byte*> memory = arena_->Allocate(bytes);
  if (!memory.ok()) return memory.status();
  if (bytes > 0) gpu::FillBytes(*memory, 0, static_cast<size_t>(bytes), stream_);
  return std::make_unique<GpuBuffer>(*this, *memory, bytes);
}

absl::StatusOr<std::unique_ptr<Buffer>> GpuDevice::Allocate(int64_t floats) {
  int64_t bytes = 0;
  if (floats < 0 || __builtin_mul_overflow(floats, static_cast<int64_t>(sizeof(float)), &bytes)) {
    return absl::ResourceExhaustedError(absl::StrFormat("device memory: %d floats wanted", floats));
  }
  return AllocateZeroed(bytes);
}

absl::StatusOr<std::unique_ptr<Buffer>> GpuDevice::AllocateKv(int64_t bytes) { return AllocateZeroed(bytes); }

Tensor GpuDevice::ToHost(Tensor x) {
  const int64_t floats = x.rows * x.cols;
  const Tensor dense = {.data = nullptr, .rows = x.rows, .cols = x.cols, .stride = x.cols};
  Tensor host = dense;
  host.data = reinterpret_cast<float*>(Grow(read_back_, floats * static_cast<int64_t>(sizeof(float))));
  if (host.data == nullptr || floats == 0) return host;
  if (Ready() && x.stride != x.cols && x.rows > 1) {
    Tensor copy = dense;
    copy.data = Grow<float>(dense_, floats);
    if (copy.data != nullptr) Copy(x, copy);
    x = copy;
  }
  if (Ready()) gpu::CopyToHost(host.data, x.data, static_cast<size_t>(floats) * sizeof(float), stream_);
  Wait();
  if (!status().ok()) std::fill_n(host.data, floats, 0.0f);  // Numbers, whatever the caller does before it asks.
  return host;
}

void GpuDevice::CopyFromHost(std::span<const float> values, Tensor out) {
  BARN_CHECK(static_cast<int64_t>(values.size()) == out.rows * out.cols);
  if (!Ready() || values.empty()) return;
  const float* from = staged_.Put(values);
  if (!Ready()) return;
  gpu::CopyRows({.data = const_cast<float*>(from), .rows = out.rows, .cols = out.cols, .stride = out.cols}, RowsOf(out),
                stream_);
}

void GpuDevice::EmbedRows(const Matrix& table, std::span<const int32_t> ids, Tensor out) {
  const auto& matrix = static_cast<const GpuMatrix&>(table);
  BARN_CHECK(static_cast<int64_t>(ids.size()) == out.rows && matrix.shape().cols == out.cols);
  for (const int32_t id : ids) BARN_CHECK(id >= 0 && id < matrix.shape().rows);
  if (!Ready()) return;
  const int32_t* on_device = staged_.Put(ids);
  if (!Ready()) return;
  gpu::EmbedRows(matrix.view(), on_device, RowsOf(out), stream_);
  counters_.matmul_bytes_read += out.rows * matrix.expert_bytes() / matrix.shape().rows;
}

void GpuDevice::RmsNorm(Tensor x, const float* weight, float eps, Tensor out) {
  if (!Ready()) return;
  gpu::Norm({.x = RowsOf(x), .weight = weight, .epsilon = eps, .out = RowsOf(out)}, stream_);
}

void GpuDevice::LayerNorm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) {
  if (!Ready()) return;
  gpu::Norm({.x = RowsOf(x), .weight = weight, .bias = bias, .epsilon = eps, .subtract_mean = true, .out = RowsOf(out)},
            stream_);
}

void GpuDevice::Gelu(Activation form, Tensor x) {
  BARN_CHECK(form == Activation::kGeluTanh || form == Activation::kGeluErf);
  if (Ready()) (form == Activation::kGeluTanh ? gpu::Gelu : gpu::GeluErf)(RowsOf(x), stream_);
}

void GpuDevice::Add(Tensor x, Tensor y) {
  if (Ready()) gpu::Add(RowsOf(x), RowsOf(y), stream_);
}

void GpuDevice::AddScaled(Tensor x, Tensor y, float scale) {
  if (Ready()) gpu::AddScaled(RowsOf(x), RowsOf(y), scale, stream_);
}

void GpuDevice::Scale(Tensor x, float scale) {
  if (Ready()) gpu::Scale(RowsOf(x), scale, stream_);
}

void GpuDevice::ScaleRows(Tensor x, std::span<const float> scales) {
  BARN_CHECK(static_cast<int64_t>(scales.size()) >= x.rows);
  if (!Ready()) return;
  const float* on_device = staged_.Put(scales.first(static_cast<size_t>(x.rows)));
  if (Ready()) gpu::ScaleRows(RowsOf(x), on_device, stream_);
}

void GpuDevice::Softcap(Tensor x, float cap) {
  if (Ready()) gpu::Softcap(RowsOf(x), cap, stream_);
}

void GpuDevice::Copy(Tensor x, Tensor out) {
  if (Ready()) gpu::CopyRows(RowsOf(x), RowsOf(out), stream_);
}

void GpuDevice::Rope(const RopeArgs& args) {
  BARN_CHECK(args.x.cols == args.heads * args.head_width);
  BARN_CHECK(args.width % 2 == 0 && args.offset >= 0 && args.offset + args.width <= args.head_width);
  BARN_CHECK(static_cast<int64_t>(args.positions.size()) == args.x.rows);
  BARN_CHECK(static_cast<int64_t>(args.inverse_frequencies.size()) == args.width / 2);
  if (!Ready()) return;
  const int32_t* positions = staged_.Put(args.positions, kept_positions_);
  const float* frequencies = staged_.Put(args.inverse_frequencies, kept_frequencies_);
  if (!Ready()) return;
  gpu::Rope({.x = RowsOf(args.x),
             .heads = args.heads,
             .head_width = args.head_width,
             .offset = args.offset,
             .width = args.width,
             .neighbours = args.pairs == RopePairs::kNeighbours,
             .positions = positions,
             .inverse_frequencies = frequencies,
             .magnitude = args.magnitude},
            stream_);
}

}  // namespace barn
