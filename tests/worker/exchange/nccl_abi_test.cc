// Built where NCCL's header is installed: what nccl_abi.h says of its binary interface is so.
#include "worker/exchange/nccl_abi.h"

#include <gtest/gtest.h>
#include <nccl.h>

#include <cstddef>
#include <type_traits>

namespace barn {
namespace {

static_assert(sizeof(nccl::UniqueId) == sizeof(ncclUniqueId));
static_assert(sizeof(nccl::Result) == sizeof(ncclResult_t));
static_assert(sizeof(nccl::DataType) == sizeof(ncclDataType_t));
static_assert(static_cast<int>(nccl::kFloat32) == ncclFloat32);
static_assert(static_cast<int>(nccl::kSuccess) == ncclSuccess);
static_assert(static_cast<int>(nccl::kUnhandledCudaError) == ncclUnhandledCudaError);
static_assert(static_cast<int>(nccl::kSystemError) == ncclSystemError);
static_assert(static_cast<int>(nccl::kInternalError) == ncclInternalError);
static_assert(static_cast<int>(nccl::kInvalidArgument) == ncclInvalidArgument);
static_assert(static_cast<int>(nccl::kInvalidUsage) == ncclInvalidUsage);
static_assert(static_cast<int>(nccl::kRemoteError) == ncclRemoteError);
static_assert(static_cast<int>(nccl::kInProgress) == ncclInProgress);
static_assert(offsetof(nccl::Config, size) == offsetof(ncclConfig_t, size));
static_assert(offsetof(nccl::Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(nccl::Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(nccl::Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(sizeof(nccl::Config) <= sizeof(ncclConfig_t));
static_assert(NCCL_VERSION(2, 14, 0) == nccl::kVersionMin && NCCL_VERSION(3, 0, 0) == nccl::kVersionEnd);

// As each is called: with our types in the places of NCCL's.
static_assert(std::is_same_v<decltype(&ncclGetVersion), ncclResult_t (*)(int*)>);
static_assert(std::is_same_v<decltype(&ncclGetUniqueId), ncclResult_t (*)(ncclUniqueId*)>);
static_assert(std::is_same_v<decltype(&ncclCommInitRankConfig),
                             ncclResult_t (*)(ncclComm_t*, int, ncclUniqueId, int, ncclConfig_t*)>);
static_assert(std::is_same_v<decltype(&ncclCommAbort), ncclResult_t (*)(ncclComm_t)>);
static_assert(std::is_same_v<decltype(&ncclCommGetAsyncError), ncclResult_t (*)(ncclComm_t, ncclResult_t*)>);
static_assert(std::is_same_v<decltype(&ncclAllGather),
                             ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclComm_t, cudaStream_t)>);
static_assert(std::is_same_v<decltype(&ncclGetErrorString), const char* (*)(ncclResult_t)>);
static_assert(std::is_same_v<decltype(&ncclGetLastError), const char* (*)(ncclComm_t)>);

TEST(NcclAbi, ConfigBeginsAsTheHeadersInitializer) {
  const ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
  const nccl::Config ours;
  EXPECT_EQ(ours.magic, theirs.magic);
  EXPECT_EQ(ours.size, sizeof(ours));
  EXPECT_LE(ours.version, theirs.version);
}

}  // namespace
}  // namespace barn
