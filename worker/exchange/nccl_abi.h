#pragma once

#include <cstddef>

// What Barn calls of NCCL, as its binary interface has been since version 2.14: the library is opened at run time and
// its header need not be there. nccl_abi_test compares the two where it is.
namespace barn::nccl {

struct Comm;

struct UniqueId {
  char bytes[128];
};

enum Result : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

enum DataType : int { kFloat32 = 7 };

// As of 2.14, which later versions take and fill up.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
  int unused = 0;
};

// As ncclGetVersion has it from 2.9 on: 2.28.9 is 22809.
inline constexpr int kVersionMin = 21400;
inline constexpr int kVersionEnd = 30000;  // The next major version may be another interface.

using GetVersion = Result (*)(int* version);
using GetUniqueId = Result (*)(UniqueId* id);
using CommInitRankConfig = Result (*)(Comm** comm, int ranks, UniqueId id, int rank, Config* config);
using CommAbort = Result (*)(Comm* comm);
using CommGetAsyncError = Result (*)(Comm* comm, Result* result);
// count: of each rank; received: ranks times as many.
using AllGather = Result (*)(const void* sent, void* received, size_t count, DataType type, Comm* comm, void* stream);
using GetErrorString = const char* (*)(Result result);
using GetLastError = const char* (*)(Comm* comm);

}  // namespace barn::nccl
