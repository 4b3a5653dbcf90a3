#include "worker/exchange/nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <type_traits>

#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "proto/base/status.h"

namespace barn {
namespace {

absl::StatusOr<NcclLibrary> Load(const std::string& name) {
  // Ranks are on one machine: what they agree on before they share memory shall not be heard on a network.
  setenv("NCCL_SOCKET_IFNAME", "lo", /*overwrite=*/0);
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return absl::UnavailableError(absl::StrFormat("NCCL: %s", dlerror()));
  NcclLibrary library = {};
  std::string missing;
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, symbol));
    if (function == nullptr) missing = symbol;
  };
  find(library.get_version, "ncclGetVersion");
  find(library.get_unique_id, "ncclGetUniqueId");
  find(library.comm_init_rank_config, "ncclCommInitRankConfig");
  find(library.comm_abort, "ncclCommAbort");
  find(library.comm_get_async_error, "ncclCommGetAsyncError");
  find(library.all_gather, "ncclAllGather");
  find(library.get_error_string, "ncclGetErrorString");
  find(library.get_last_error, "ncclGetLastError");
  if (!missing.empty()) return absl::UnavailableError(absl::StrFormat("NCCL: %s has no %s", name, missing));
  int version = 0;
  const nccl::Result result = library.get_version(&version);
  if (result != nccl::kSuccess) return library.Error("asking for the version", result, nullptr);
  library.version = absl::StrFormat("%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
  if (version < nccl::kVersionMin || version >= nccl::kVersionEnd) {
    return absl::UnavailableError(absl::StrFormat("NCCL: %s is version %s, want 2.14 or a later 2.x", name,
                                                  version < 10000 ? absl::StrFormat("%d", version) : library.version));
  }
  return library;
}

}  // namespace

absl::Status NcclLibrary::Error(const char* what, nccl::Result result, nccl::Comm* comm) const {
  std::string message = absl::StrFormat("NCCL: %s: %s", what, get_error_string(result));
  if (const char* last = get_last_error(comm); last != nullptr && *last != '\0') {
    absl::StrAppendFormat(&message, " (%.300s)", last);
  }
  const bool usage = result == nccl::kInvalidUsage || result == nccl::kInvalidArgument;
  return usage ? absl::FailedPreconditionError(message) : absl::UnavailableError(message);
}

absl::StatusOr<const NcclLibrary*> LoadNccl(const std::string& name) {
  static absl::Mutex mutex;
  static auto* const known = new std::map<std::string, std::unique_ptr<absl::StatusOr<NcclLibrary>>>;
  absl::MutexLock lock(&mutex);
  auto& library = (*known)[name];
  if (library == nullptr) library = std::make_unique<absl::StatusOr<NcclLibrary>>(Load(name));
  BARN_RETURN_IF_ERROR(library->status());
  return &**library;
}

}  // namespace barn
