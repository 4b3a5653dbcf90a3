#include "worker/exchange/ucx_library.h"

#include <dlfcn.h>
#include <signal.h>

#include <array>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

// libucs catches the signals of a crash when it is loaded, to print a trace; Barn leaves them to the system.
class KeepSignals {
 public:
  KeepSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], nullptr, &actions_[i]);
    }
  }
  ~KeepSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], &actions_[i], nullptr);
    }
  }

 private:
  static constexpr std::array kSignals = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
  std::array<struct sigaction, kSignals.size()> actions_ = {};
};

absl::StatusOr<UcxLibrary> Load() {
  const KeepSignals keep;
  // RTLD_LOCAL: its own signal() and sigaction() must not take the place of the system's.
  // UCX would patch mmap and madvise of the whole process to keep caches of registered memory, which shared memory does
  // not need and ThreadSanitizer does not survive.
  setenv("UCX_MEM_EVENTS", "no", /*overwrite=*/0);
  void* handle = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::UnavailableError(absl::StrCat("UCX: ", dlerror()));
  }
  UcxLibrary library = {};
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr) {
      missing = name;
    }
  };
  find(library.config_read, "ucp_config_read");
  find(library.config_modify, "ucp_config_modify");
  find(library.config_release, "ucp_config_release");
  find(library.init_version, "ucp_init_version");
  find(library.cleanup, "ucp_cleanup");
  find(library.worker_create, "ucp_worker_create");
  find(library.worker_destroy, "ucp_worker_destroy");
  find(library.worker_get_address, "ucp_worker_get_address");
  find(library.worker_release_address, "ucp_worker_release_address");
  find(library.worker_progress, "ucp_worker_progress");
  find(library.worker_set_am_recv_handler, "ucp_worker_set_am_recv_handler");
  find(library.ep_create, "ucp_ep_create");
  find(library.ep_close_nbx, "ucp_ep_close_nbx");
  find(library.am_send_nbx, "ucp_am_send_nbx");
  find(library.am_recv_data_nbx, "ucp_am_recv_data_nbx");
  find(library.request_check_status, "ucp_request_check_status");
  find(library.request_cancel, "ucp_request_cancel");
  find(library.request_free, "ucp_request_free");
  find(library.status_string, "ucs_status_string");
  // Every error reaches us as a status; UCX would print it as well.
  if (void* const set = dlsym(handle, "ucs_global_opts_set_value"); set != nullptr) {
    reinterpret_cast<ucs_status_t (*)(const char*, const char*)>(set)("LOG_LEVEL", "fatal");
  }
  if (!missing.empty()) {
    return absl::UnavailableError(absl::StrCat("UCX: libucp.so.0 has no ", missing));
  }
  return library;
}

}  // namespace

absl::StatusOr<const UcxLibrary*> LoadUcx() {
  static const auto* const library = new absl::StatusOr<UcxLibrary>(Load());
  if (!library->ok()) {
    return library->status();
  }
  return &**library;
}

}  // namespace barn
