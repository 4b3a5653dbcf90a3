#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/work_log.h"

// runtime.h over the CUDA runtime. Calls without a status keep their error in the runtime, as launches do: Synchronize
// returns it.
namespace barn::gpu {
namespace {

absl::Status ToStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();  // It is reported here; what sticks comes back with the next call.
  const std::string message = absl::StrFormat("%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorInvalidValue:
    case cudaErrorInvalidDevice:
      return absl::InvalidArgumentError(message);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

// The machine code of an architecture runs on its successors of the same major number; for those of later ones there is
// intermediate code, which the driver compiles.
std::string WhyUnsuited(int capability) {
  if (capability >= BARN_CUDA_CAPABILITY_MIN) return "";
  return absl::StrFormat("compute capability %d.%d, and this program was built for %d.%d and later", capability / 10,
                         capability % 10, BARN_CUDA_CAPABILITY_MIN / 10, BARN_CUDA_CAPABILITY_MIN % 10);
}

// A clock in kHz and two words of the bus in each of its cycles.
double ReadBytesPerSecond(int device) {
  int clock_khz = 0, bus_bits = 0;
  if (cudaDeviceGetAttribute(&clock_khz, cudaDevAttrMemoryClockRate, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, device) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return 2e3 * clock_khz * bus_bits / 8;
}

std::string IdOf(const cudaUUID_t& uuid) {
  std::string id;
  for (const char byte : uuid.bytes) id += absl::StrFormat("%02x", static_cast<unsigned char>(byte));
  return id;
}

std::string Version(int number) { return absl::StrFormat("%d.%d", number / 1000, number % 1000 / 10); }

// cudaErrorInsufficientDriver also stands for no driver at all.
absl::Status DriverTooOld() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  cudaGetLastError();
  if (driver == 0)
    return absl::UnavailableError("driver not found: libcuda.so.1 of the NVIDIA driver is not installed");
  return absl::UnavailableError(absl::StrFormat("the NVIDIA driver knows CUDA %s, this program needs %s",
                                                Version(driver), Version(CUDART_VERSION)));
}

}  // namespace

const char* DevicePrefix() { return "cuda"; }
const char* ExchangeLibrary() { return "libnccl.so.2"; }

absl::StatusOr<std::vector<DeviceInfo>> ListDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) return DriverTooOld();
  if (error == cudaErrorNoDevice) {
    cudaGetLastError();
    return std::vector<DeviceInfo>();
  }
  if (error != cudaSuccess) return ToStatus(error, "listing GPUs");
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (const absl::Status status =
            ToStatus(cudaGetDeviceProperties(&properties, i), absl::StrFormat("properties of GPU %d", i));
        !status.ok()) {
      return status;
    }
    devices.push_back({.name = properties.name,
                       .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
                       .multiprocessors = properties.multiProcessorCount,
                       .compute_capability = 10 * properties.major + properties.minor,
                       .id = IdOf(properties.uuid),
                       .read_bytes_per_s = ReadBytesPerSecond(i),
                       .unsuited = WhyUnsuited(10 * properties.major + properties.minor)});
  }
  return devices;
}

absl::Status UseDevice(int index) { return ToStatus(cudaSetDevice(index), absl::StrFormat("GPU %d", index)); }

absl::StatusOr<void*> AllocateDevice(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes == 0 ? 1 : bytes);
  if (error == cudaErrorMemoryAllocation) {
    size_t free = 0;
    size_t all = 0;
    cudaMemGetInfo(&free, &all);
    return ToStatus(error, absl::StrFormat("GPU memory: %d bytes wanted, %d of %d are free", bytes, free, all));
  }
  if (error != cudaSuccess) return ToStatus(error, absl::StrFormat("GPU memory: %d bytes", bytes));
  return memory;
}
void FreeDevice(void* memory) { cudaFree(memory); }

absl::StatusOr<void*> AllocatePinned(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMallocHost(&memory, bytes == 0 ? 1 : bytes);
  if (error != cudaSuccess) return ToStatus(error, absl::StrFormat("pinned memory: %d bytes wanted", bytes));
  return memory;
}
void FreePinned(void* memory) { cudaFreeHost(memory); }

absl::StatusOr<Stream> CreateStream() {
  cudaStream_t stream = nullptr;
  const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return ToStatus(error, "creating a stream");
  return stream;
}
void DestroyStream(Stream stream) {
  if (stream != nullptr) cudaStreamDestroy(stream);
}

absl::Status Synchronize(Stream stream) {
  const cudaError_t error = cudaStreamSynchronize(stream);
  return ToStatus(error != cudaSuccess ? error : cudaGetLastError(), "work on the GPU");
}

void CopyToDevice(void* device, const void* pinned, size_t bytes, Stream stream) {
  if (Logged<CallWork<&CopyToDevice>>(stream, device, pinned, bytes)) return;
  cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream);
}
void CopyToHost(void* pinned, const void* device, size_t bytes, Stream stream) {
  if (Logged<CallWork<&CopyToHost>>(stream, pinned, device, bytes)) return;
  cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream);
}
void CopyOnDevice(void* to, const void* from, size_t bytes, Stream stream) {
  if (Logged<CallWork<&CopyOnDevice>>(stream, to, from, bytes)) return;
  cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
void FillBytes(void* device, uint8_t value, size_t bytes, Stream stream) {
  if (Logged<CallWork<&FillBytes>>(stream, device, value, bytes)) return;
  cudaMemsetAsync(device, value, bytes, stream);
}

absl::Status Upload(void* device, const void* host, size_t bytes) {
  return ToStatus(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice),
                  absl::StrFormat("copying %d bytes to the GPU", bytes));
}
absl::Status Download(void* host, const void* device, size_t bytes) {
  return ToStatus(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost),
                  absl::StrFormat("copying %d bytes from the GPU", bytes));
}

absl::StatusOr<Event> CreateEvent() {
  cudaEvent_t event = nullptr;
  const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (error != cudaSuccess) return ToStatus(error, "creating an event");
  return event;
}
void DestroyEvent(Event event) {
  if (event != nullptr) cudaEventDestroy(event);
}
void Record(Event event, Stream stream) { cudaEventRecord(event, stream); }
void WaitFor(Stream stream, Event event) { cudaStreamWaitEvent(stream, event, 0); }

absl::StatusOr<bool> IsDone(Event event) {
  const cudaError_t error = cudaEventQuery(event);
  if (error == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  if (error != cudaSuccess) return ToStatus(error, "work on the GPU");
  return true;
}

absl::Status BeginCapture(Stream stream) {
  return ToStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a graph");
}

absl::StatusOr<Graph> EndCapture(Stream stream) {
  cudaGraph_t captured = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream, &captured);
  if (error != cudaSuccess) return ToStatus(error, "capturing a graph");
  cudaGraphExec_t graph = nullptr;
  error = cudaGraphInstantiate(&graph, captured, 0);
  cudaGraphDestroy(captured);
  if (error != cudaSuccess) return ToStatus(error, "making a graph");
  return graph;
}
void LaunchGraph(Graph graph, Stream stream) { cudaGraphLaunch(graph, stream); }
void DestroyGraph(Graph graph) {
  if (graph != nullptr) cudaGraphExecDestroy(graph);
}

}  // namespace barn::gpu
