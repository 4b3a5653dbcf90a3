#include "worker/service/adapter_loader.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr int kPartsMax = 16;
constexpr int64_t kUploadBytes = int64_t{4} << 20;  // Between two steps.
constexpr absl::Duration kRetry = absl::Milliseconds(5);

// What one slice takes of an adapter, and which one it is.
struct ReadAdapter {
  std::string identity;
  int64_t bytes = 0;
  std::unique_ptr<AdapterPart> part = nullptr;
};

absl::StatusOr<std::unique_ptr<Adapter>> OpenAdapter(const proto::LoadAdapter& request, const GgufModel& model) {
  if (request.adapter_id() < 1 || request.parts_size() < 1 || request.parts_size() > kPartsMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("adapter %d of %d files", request.adapter_id(), request.parts_size()));
  }
  return Adapter::Open(std::vector<std::string>(request.parts().begin(), request.parts().end()), model);
}

proto::AdapterResult ResultOf(const proto::LoadAdapter& request, const absl::Status& status) {
  proto::AdapterResult result;
  result.set_epoch(request.epoch());
  result.set_adapter_id(request.adapter_id());
  result.set_code(static_cast<int32_t>(status.code()));
  result.set_error(std::string(status.message()));
  return result;
}

int64_t BytesOf(const AdapterPart& part) {
  int64_t bytes = 0;
  for (const AdapterPart::Pair& pair : part.pairs) bytes += std::ssize(pair.a->bytes) + std::ssize(pair.b.bytes);
  return bytes;
}

// The device's memory may be too small, and so may the host's.
absl::StatusOr<bool> Upload(Slice& slice, int64_t id, AdapterPart& part) {
  try {
    return slice.AddAdapter(id, part, kUploadBytes);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("adapter: out of memory");
  }
}

absl::StatusOr<ReadAdapter> ReadFor(const Adapter& adapter, const std::vector<AdapterTarget>& targets,
                                    const std::stop_token& stop) {
  ReadAdapter read{.identity = adapter.Identity()};
  BARN_ASSIGN_OR_RETURN(read.part, ReadAdapterPart(adapter, targets, stop));
  read.bytes = BytesOf(*read.part);
  return read;
}

}  // namespace

// Reads an adapter on a thread of its own.
class AdapterLoader::Reader {
 public:
  Reader(const proto::LoadAdapter& request, std::shared_ptr<const GgufModel> model, std::vector<AdapterTarget> targets,
         int64_t bytes_max, std::function<bool()> again)
      : thread_([this, request, model = std::move(model), targets = std::move(targets), bytes_max,
                 again = std::move(again)](const std::stop_token& stop) {
          read_ = Read(request, *model, targets, bytes_max, stop);
          done_ = true;
          while (!stop.stop_requested() && !again()) absl::SleepFor(kRetry);
        }) {}

  bool done() const { return done_; }
  // After done().
  absl::StatusOr<ReadAdapter>& read() { return read_; }

 private:
  // Errors are for the coordinator, whatever a file holds.
  static absl::StatusOr<ReadAdapter> Read(const proto::LoadAdapter& request, const GgufModel& model,
                                          const std::vector<AdapterTarget>& targets, int64_t bytes_max,
                                          const std::stop_token& stop) {
    try {
      BARN_ASSIGN_OR_RETURN(const std::unique_ptr<Adapter> adapter, OpenAdapter(request, model));
      if (adapter->bytes() > bytes_max) {
        return absl::ResourceExhaustedError(
            absl::StrFormat("the adapter takes %d bytes, this worker has room for %d", adapter->bytes(), bytes_max));
      }
      return ReadFor(*adapter, targets, stop);
    } catch (const std::exception& error) {
      return absl::ResourceExhaustedError(absl::StrCat("adapter: ", error.what()));
    }
  }

  std::atomic<bool> done_ = false;
  absl::StatusOr<ReadAdapter> read_ = absl::UnknownError("not read yet");
  std::jthread thread_;  // Last: it ends before the members that it writes.
};

AdapterLoader::AdapterLoader() = default;
AdapterLoader::~AdapterLoader() = default;

int64_t AdapterLoader::bytes() const {
  int64_t bytes = 0;
  if (kept_.expired()) return bytes;
  for (const auto& [id, loaded] : loaded_) bytes += loaded.bytes;
  return bytes;
}

absl::Status AdapterLoader::CheckRoom(int64_t bytes) const {
  const int64_t taken = this->bytes();
  if (bytes <= bytes_max_ - taken) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat("the adapter takes %d bytes here, this worker has room for %d",
                                                      bytes, std::max<int64_t>(0, bytes_max_ - taken)));
}

absl::Status AdapterLoader::LoadNow(const proto::LoadAdapter& request, const std::stop_token& stop) {
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<Adapter> adapter, OpenAdapter(request, *model_));
  const int64_t id = request.adapter_id();
  if (const auto found = loaded_.find(id); found != loaded_.end()) {
    if (found->second.identity == adapter->Identity()) return absl::OkStatus();
    Remove(id);  // Of another coordinator, or the file is another one now.
  }
  BARN_RETURN_IF_ERROR(CheckRoom(adapter->bytes()));
  BARN_ASSIGN_OR_RETURN(ReadAdapter read, ReadFor(*adapter, slice_->adapter_targets(), stop));
  BARN_RETURN_IF_ERROR(slice_->AddAdapter(id, *read.part, INT64_MAX).status());
  loaded_[id] = {.identity = std::move(read.identity), .bytes = read.bytes};
  return absl::OkStatus();
}

bool AdapterLoader::Keeps(const proto::LoadRequest& request, int64_t adapter_id) const {
  return std::any_of(request.adapters().begin(), request.adapters().end(),
                     [&](const proto::LoadAdapter& adapter) { return adapter.adapter_id() == adapter_id; });
}

void AdapterLoader::Begin(const proto::LoadRequest& request, std::shared_ptr<const GgufModel> model,
                          std::shared_ptr<Slice> slice, int64_t bytes_max, const std::stop_token& stop,
                          const Report& report) {
  End();
  if (kept_.lock() != slice) loaded_.clear();
  model_ = std::move(model);
  slice_ = std::move(slice);
  kept_ = slice_;
  bytes_max_ = bytes_max;
  std::vector<int64_t> gone;
  for (const auto& [id, loaded] : loaded_) {
    if (!Keeps(request, id)) gone.push_back(id);
  }
  for (const int64_t id : gone) Remove(id);
  for (const proto::LoadAdapter& adapter : request.adapters()) {
    if (stop.stop_requested()) return;
    const absl::Status status = LoadNow(adapter, stop);
    if (!status.ok()) Remove(adapter.adapter_id());
    report(ResultOf(adapter, status));
  }
}

std::optional<proto::AdapterResult> AdapterLoader::Continue(const proto::LoadAdapter& request,
                                                            std::function<bool()> again) {
  const int64_t id = request.adapter_id();
  if (loaded_.contains(id)) {
    return ResultOf(request, absl::AlreadyExistsError(absl::StrFormat("adapter %d is loaded already", id)));
  }
  std::unique_ptr<Reader>& reader = readers_[id];
  if (reader == nullptr) {
    reader = std::make_unique<Reader>(request, model_, slice_->adapter_targets(), bytes_max_, std::move(again));
    return std::nullopt;
  }
  if (!reader->done()) return std::nullopt;  // It asks again.
  absl::Status status = reader->read().status();
  if (status.ok()) status = CheckRoom(reader->read()->bytes);
  while (status.ok()) {
    const absl::StatusOr<bool> complete = Upload(*slice_, id, *reader->read()->part);
    status = complete.status();
    if (complete.ok() && *complete) break;
    if (complete.ok() && again()) return std::nullopt;
  }
  if (status.ok()) loaded_[id] = {.identity = reader->read()->identity, .bytes = reader->read()->bytes};
  readers_.erase(id);
  if (!status.ok()) slice_->RemoveAdapter(id);
  return ResultOf(request, status);
}

void AdapterLoader::Remove(int64_t adapter_id) {
  readers_.erase(adapter_id);
  loaded_.erase(adapter_id);
  if (slice_ != nullptr) slice_->RemoveAdapter(adapter_id);
}

void AdapterLoader::End() {
  std::vector<int64_t> reading;
  for (const auto& [id, reader] : readers_) reading.push_back(id);
  for (const int64_t id : reading) Remove(id);
  slice_.reset();
  model_.reset();
}

}  // namespace barn
