#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/exchange/nccl_abi.h"

namespace barn {

// The functions of libnccl that Barn calls, found at run time so that one binary also starts without the library.
struct NcclLibrary {
  std::string version;  // "2.28.9"
  nccl::GetVersion get_version;
  nccl::GetUniqueId get_unique_id;
  nccl::CommInitRankConfig comm_init_rank_config;
  nccl::CommAbort comm_abort;
  nccl::CommGetAsyncError comm_get_async_error;
  nccl::AllGather all_gather;
  nccl::GetErrorString get_error_string;
  nccl::GetLastError get_last_error;

  // `what` failed: Unavailable where another attempt may go well, FailedPrecondition where the caller must change
  // something (the same GPU twice). comm may be null.
  absl::Status Error(const char* what, nccl::Result result, nccl::Comm* comm) const;
};

// name: as dlopen takes it. Loaded once for the life of the process. Unavailable: it is missing, incomplete, older than
// 2.14 or of another major version.
absl::StatusOr<const NcclLibrary*> LoadNccl(const std::string& name);

}  // namespace barn
