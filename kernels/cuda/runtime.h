#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"

// What the host asks of a GPU besides kernels, for host files (kernel files include gpu.h). Implemented over the CUDA
// runtime (cuda_runtime.cc) and by the simulator (tests/simt/runtime.cc); a program links one of them.
namespace barn::gpu {

struct DeviceInfo {
  std::string name;
  int64_t memory_bytes = 0;
  int multiprocessors = 0;
  int compute_capability = 0;   // 10 * major + minor.
  std::string id = {};          // Unique in the machine, whatever the program sees of it.
  double read_bytes_per_s = 0;  // Of its memory, by its datasheet; 0: unknown.
  std::string unsuited = {};    // Why this program's kernels do not run there; empty: they do.
};

// What names of devices begin with: "cuda", or "simt" for the simulator.
const char* DevicePrefix();
// The library that exchanges between such devices, as dlopen finds it; empty: only one that is named.
const char* ExchangeLibrary();

// Unavailable: no driver, or one too old for this build (both versions are named); no device is an empty list.
absl::StatusOr<std::vector<DeviceInfo>> ListDevices();

// What the calling thread's later calls mean by "the device". InvalidArgument: there is none with this index.
absl::Status UseDevice(int index);

// 256-byte aligned, contents undefined. ResourceExhausted: not enough free, with both numbers. Free takes null.
absl::StatusOr<void*> AllocateDevice(size_t bytes);
void FreeDevice(void* memory);
// Memory of the host that the GPU reads and writes by itself: what asynchronous copies need.
absl::StatusOr<void*> AllocatePinned(size_t bytes);
void FreePinned(void* memory);

// Work of one stream runs in order; of several, in any order that events do not forbid.
absl::StatusOr<Stream> CreateStream();
void DestroyStream(Stream stream);
// Returns when all work of the stream is done; its first error, which no later call can undo.
absl::Status Synchronize(Stream stream);

// Asynchronous. The host's side is pinned and belongs to the copy until the stream was waited for.
void CopyToDevice(void* device, const void* pinned, size_t bytes, Stream stream);
void CopyToHost(void* pinned, const void* device, size_t bytes, Stream stream);
void CopyOnDevice(void* to, const void* from, size_t bytes, Stream stream);
void FillBytes(void* device, uint8_t value, size_t bytes, Stream stream);
// From any memory of the host, done on return; not ordered with any stream.
absl::Status Upload(void* device, const void* host, size_t bytes);
absl::Status Download(void* host, const void* device, size_t bytes);

absl::StatusOr<Event> CreateEvent();
void DestroyEvent(Event event);
void Record(Event event, Stream stream);
// Later work of the stream waits for what was before the last Record of the event.
void WaitFor(Stream stream, Event event);
// Whether that is done, without waiting for it.
absl::StatusOr<bool> IsDone(Event event);

// What is put on the stream between the two is not run but kept; LaunchGraph runs it as often as wanted. Addresses and
// numbers are those of the capture. No waiting in between, and no other stream.
absl::Status BeginCapture(Stream stream);
absl::StatusOr<Graph> EndCapture(Stream stream);
void LaunchGraph(Graph graph, Stream stream);
void DestroyGraph(Graph graph);

}  // namespace barn::gpu
