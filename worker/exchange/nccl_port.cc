#include "worker/exchange/nccl_port.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "worker/exchange/nccl_collective.h"
#include "worker/exchange/nccl_library.h"

namespace barn {
namespace {

// So often in a row a communicator may fail to come up before this worker is no rank any more; once where the others
// did not come in all the time that they had, or where another attempt cannot go better.
constexpr int kFailuresMax = 3;

class NcclPort final : public RankPort {
 public:
  NcclPort(const NcclLibrary& library, Device& device)
      : library_(library), device_(device), transport_(absl::StrCat("NCCL ", library.version)) {}

  const std::string& transport() const override { return transport_; }
  const std::string& address() const override { return address_; }
  absl::Status usable() const override { return usable_; }
  absl::StatusOr<std::unique_ptr<Collective>> Join(const CollectiveOptions& options) override;

  absl::Status Renew();

 private:
  absl::Status Check(const CollectiveOptions& options) const;

  const NcclLibrary& library_;
  Device& device_;
  const std::string transport_;
  std::string address_;  // The bytes of a UniqueId.
  absl::Status usable_;
  int failures_ = 0;  // Since the last communicator that came up.
};

absl::Status NcclPort::Renew() {
  nccl::UniqueId id = {};
  const nccl::Result result = library_.get_unique_id(&id);
  if (result != nccl::kSuccess) return library_.Error("making an id", result, nullptr);
  address_.assign(id.bytes, sizeof(id.bytes));
  return absl::OkStatus();
}

absl::Status NcclPort::Check(const CollectiveOptions& options) const {
  const auto ranks = static_cast<int>(options.addresses.size());
  if (ranks < 2 || ranks > kRankPortRanksMax || options.rank < 0 || options.rank >= ranks || options.floats_max < 1 ||
      options.floats_max > kSharedFloatsMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d of %d that share up to %d values", options.rank, ranks, options.floats_max));
  }
  for (const std::string& address : options.addresses) {
    if (address.size() == sizeof(nccl::UniqueId)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("a rank's address has %d bytes, NCCL's ids have %d", address.size(), sizeof(nccl::UniqueId)));
  }
  if (options.addresses[options.rank] != address_) {
    return absl::UnavailableError(
        absl::StrFormat("rank %d is planned at an address that it no longer has", options.rank));
  }
  return usable_;
}

absl::StatusOr<std::unique_ptr<Collective>> NcclPort::Join(const CollectiveOptions& options) {
  BARN_RETURN_IF_ERROR(Check(options));
  nccl::UniqueId id = {};
  std::memcpy(id.bytes, options.addresses[0].data(), sizeof(id.bytes));
  if (options.rank == 0) BARN_RETURN_IF_ERROR(Renew());
  absl::StatusOr<std::unique_ptr<NcclCollective>> joined = NcclCollective::Join(library_, device_, options, id);
  if (joined.ok()) {
    failures_ = 0;
    return *std::move(joined);
  }
  // A plan that ended, or memory that a smaller plan would leave, says nothing of NCCL.
  if (!absl::IsAborted(joined.status()) && !absl::IsResourceExhausted(joined.status()) &&
      (++failures_ >= kFailuresMax || !absl::IsUnavailable(joined.status()))) {
    usable_ = joined.status();
  }
  return joined.status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankPort>> OpenNcclPort(Device& device, const std::string& library) {
  const DeviceStream stream = device.stream();
  if (stream.handle == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("NCCL: ", device.Describe(), " has no stream"));
  }
  const char* set = std::getenv("BARN_NCCL");
  const std::string name = !library.empty() ? library : set != nullptr && *set != '\0' ? set : stream.library;
  if (name.empty()) {
    return absl::UnavailableError(absl::StrCat("NCCL: none for ", device.Describe(), "; BARN_NCCL names one"));
  }
  BARN_ASSIGN_OR_RETURN(const NcclLibrary* const loaded, LoadNccl(name));
  auto port = std::make_unique<NcclPort>(*loaded, device);
  BARN_RETURN_IF_ERROR(port->Renew());
  return port;
}

}  // namespace barn
