#include "kernels/cuda/runtime.h"

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "kernels/cuda/work_log.h"
#include "tests/simt/block.h"
#include "tests/simt/device_memory.h"
#include "tests/simt/simt_exports.h"
#include "tests/simt/simt_stream.h"

namespace barn::simt {

// One piece of work, and the pinned memory that belongs to it until it has run.
struct Operation {
  std::function<void()> run;
  const void* pinned = nullptr;
  size_t pinned_bytes = 0;
  Hold hold = Hold::kRead;
};

}  // namespace barn::simt

struct CUgraphExec_st {
  std::vector<barn::simt::Operation> operations;
};

struct CUstream_st {
  int device = 0;
  std::deque<barn::simt::Operation> waiting;
  int64_t put = 0;   // Operations so far.
  int64_t done = 0;  // Of these, run.
  std::unique_ptr<CUgraphExec_st> capture;
};

struct CUevent_st {
  CUstream_st* stream = nullptr;  // Null: never recorded.
  int64_t position = 0;           // Operations of the stream before it.
  int asked = 0;
};

namespace barn::simt {
namespace {

Machine machine;
thread_local int current_device = 0;
// A poll is told "not yet" so often before the work runs.
constexpr int kPollsBeforeDone = 2;

std::recursive_mutex& DeviceMutex(int device) {
  static std::recursive_mutex mutexes[64];
  return mutexes[device % 64];
}

void HoldFor(const Operation& operation) {
  if (operation.pinned != nullptr) HoldPinned(operation.pinned, operation.pinned_bytes, operation.hold);
}

void RunNow(const Operation& operation) {
  if (operation.pinned != nullptr) ReleasePinned(operation.pinned, operation.hold);
  operation.run();
}

void RunUntil(CUstream_st& stream, int64_t position) {
  const std::lock_guard lock(DeviceMutex(stream.device));
  AccessDeviceMemory access;
  while (stream.done < position && !stream.waiting.empty()) {
    const Operation operation = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    ++stream.done;
    RunNow(operation);
  }
}

void Put(gpu::Stream stream, Operation operation) {
  if (stream == nullptr) Fail("work on the null stream", Site::current());
  const std::lock_guard lock(DeviceMutex(stream->device));
  if (stream->capture != nullptr) {
    stream->capture->operations.push_back(std::move(operation));
    return;
  }
  HoldFor(operation);
  stream->waiting.push_back(std::move(operation));
  ++stream->put;
}

void RefuseWhileCapturing(const char* what, gpu::Stream stream) {
  if (stream->capture != nullptr) Fail(absl::StrFormat("%s while its stream is captured", what), Site::current());
}

}  // namespace

void SetMachine(Machine value) { machine = value; }

void Enqueue(gpu::Stream stream, std::function<void()> work) { Put(stream, {.run = std::move(work)}); }

}  // namespace barn::simt

int barn_simt_device() { return barn::simt::current_device; }

void barn_simt_enqueue(CUstream_st* stream, const void* read, size_t read_bytes, void* written, size_t written_bytes,
                       void (*run)(void*), void* argument) {
  const barn::simt::Site here = barn::simt::Site::current();
  barn::simt::CheckRange("an exchange's read", read, read_bytes, here);
  barn::simt::CheckRange("an exchange's write", written, written_bytes, here);
  barn::simt::Enqueue(stream, [=] { run(argument); });
}

namespace barn::gpu {

using simt::AccessDeviceMemory;
using simt::CheckRange;
using simt::Fail;
using simt::Hold;
using simt::Site;

const char* DevicePrefix() { return "simt"; }
const char* ExchangeLibrary() { return ""; }

absl::StatusOr<std::vector<DeviceInfo>> ListDevices() {
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < simt::machine.devices; ++i) {
    devices.push_back({.name = "simulated",
                       .memory_bytes = static_cast<int64_t>(simt::machine.memory_bytes),
                       .multiprocessors = 4,
                       .compute_capability = 80,
                       .id = absl::StrFormat("simt:%d", i),
                       .read_bytes_per_s = 1e8,
                       .unsuited = ""});
  }
  return devices;
}

absl::Status UseDevice(int index) {
  if (index < 0 || index >= simt::machine.devices) {
    return absl::InvalidArgumentError(absl::StrFormat("device %d: this machine has %d", index, simt::machine.devices));
  }
  simt::current_device = index;
  return absl::OkStatus();
}

absl::StatusOr<void*> AllocateDevice(size_t bytes) {
  return simt::AllocateOn(simt::current_device, bytes, simt::machine.memory_bytes);
}
void FreeDevice(void* memory) { simt::FreeOn(memory); }
absl::StatusOr<void*> AllocatePinned(size_t bytes) { return simt::AllocatePinnedPages(bytes); }
void FreePinned(void* memory) { simt::FreePinnedPages(memory); }

absl::StatusOr<Stream> CreateStream() {
  auto* stream = new CUstream_st;
  stream->device = simt::current_device;
  return stream;
}

void DestroyStream(Stream stream) {
  if (stream == nullptr) return;
  simt::RunUntil(*stream, stream->put);
  delete stream;
}

absl::Status Synchronize(Stream stream) {
  simt::RefuseWhileCapturing("Synchronize", stream);
  simt::RunUntil(*stream, stream->put);
  simt::CheckSlack();
  return absl::OkStatus();
}

void CopyToDevice(void* device, const void* pinned, size_t bytes, Stream stream) {
  CheckRange("copy to device memory", device, bytes, Site::current());
  if (Logged<CallWork<&CopyToDevice>>(stream, device, pinned, bytes)) return;
  simt::Put(stream, {.run = [=] { std::memcpy(device, pinned, bytes); },
                     .pinned = pinned,
                     .pinned_bytes = bytes,
                     .hold = Hold::kRead});
}

void CopyToHost(void* pinned, const void* device, size_t bytes, Stream stream) {
  CheckRange("copy from device memory", device, bytes, Site::current());
  if (Logged<CallWork<&CopyToHost>>(stream, pinned, device, bytes)) return;
  simt::Put(stream, {.run = [=] { std::memcpy(pinned, device, bytes); },
                     .pinned = pinned,
                     .pinned_bytes = bytes,
                     .hold = Hold::kWrite});
}

void CopyOnDevice(void* to, const void* from, size_t bytes, Stream stream) {
  CheckRange("copy to device memory", to, bytes, Site::current());
  CheckRange("copy from device memory", from, bytes, Site::current());
  if (Logged<CallWork<&CopyOnDevice>>(stream, to, from, bytes)) return;
  simt::Enqueue(stream, [=] { std::memmove(to, from, bytes); });
}

void FillBytes(void* device, uint8_t value, size_t bytes, Stream stream) {
  CheckRange("fill of device memory", device, bytes, Site::current());
  if (Logged<CallWork<&FillBytes>>(stream, device, value, bytes)) return;
  simt::Enqueue(stream, [=] { std::memset(device, value, bytes); });
}

absl::Status Upload(void* device, const void* host, size_t bytes) {
  CheckRange("copy to device memory", device, bytes, Site::current());
  AccessDeviceMemory access;
  std::memcpy(device, host, bytes);
  return absl::OkStatus();
}

absl::Status Download(void* host, const void* device, size_t bytes) {
  CheckRange("copy from device memory", device, bytes, Site::current());
  AccessDeviceMemory access;
  std::memcpy(host, device, bytes);
  return absl::OkStatus();
}

absl::StatusOr<Event> CreateEvent() { return new CUevent_st; }
void DestroyEvent(Event event) { delete event; }

void Record(Event event, Stream stream) {
  simt::RefuseWhileCapturing("an event", stream);
  *event = {.stream = stream, .position = stream->put};
}

void WaitFor(Stream stream, Event event) {
  simt::RefuseWhileCapturing("a wait", stream);
  if (event->stream == nullptr) return;  // As in CUDA: nothing to wait for.
  simt::Enqueue(stream, [other = event->stream, position = event->position] { simt::RunUntil(*other, position); });
}

absl::StatusOr<bool> IsDone(Event event) {
  if (event->stream == nullptr) return true;
  if (event->stream->done < event->position && event->asked++ < simt::kPollsBeforeDone) return false;
  simt::RunUntil(*event->stream, event->position);
  return true;
}

absl::Status BeginCapture(Stream stream) {
  simt::RefuseWhileCapturing("BeginCapture", stream);
  stream->capture = std::make_unique<CUgraphExec_st>();
  return absl::OkStatus();
}

absl::StatusOr<Graph> EndCapture(Stream stream) {
  if (stream->capture == nullptr) Fail("EndCapture without BeginCapture", Site::current());
  return stream->capture.release();
}

void LaunchGraph(Graph graph, Stream stream) {
  for (const simt::Operation& operation : graph->operations) simt::Put(stream, operation);
}

void DestroyGraph(Graph graph) { delete graph; }

}  // namespace barn::gpu
