#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/store/bounds.h"
#include "sharding/store/store.h"

namespace barn {
namespace {

// Shares ownership of the text, so a range may outlive its store.
class MemoryRange : public ByteRange {
 public:
  MemoryRange(std::shared_ptr<const std::string> text, size_t offset, size_t length)
      : text_(std::move(text)), offset_(offset), length_(length) {}
  std::span<const std::byte> bytes() const override {
    return std::as_bytes(std::span(*text_)).subspan(offset_, length_);
  }

 private:
  const std::shared_ptr<const std::string> text_;
  const size_t offset_;
  const size_t length_;
};

class MemoryStoreImpl : public Store {
 public:
  MemoryStoreImpl(std::string name, std::string text)
      : name_(std::move(name)),
        text_(std::make_shared<const std::string>(std::move(text))),
        identity_(absl::StrFormat("memory:%s:%d:%x", name_, text_->size(), std::hash<std::string>()(*text_))) {}

  std::string Identity() const override { return identity_; }
  std::string Name() const override { return name_; }
  int64_t size_bytes() const override { return static_cast<int64_t>(text_->size()); }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    BARN_RETURN_IF_ERROR(CheckBounds(name_, offset, static_cast<int64_t>(out.size()), size_bytes()));
    if (!out.empty()) std::memcpy(out.data(), text_->data() + offset, out.size());
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<ByteRange>> Map(int64_t offset, int64_t length) const override {
    BARN_RETURN_IF_ERROR(CheckBounds(name_, offset, length, size_bytes()));
    return std::make_unique<MemoryRange>(text_, static_cast<size_t>(offset), static_cast<size_t>(length));
  }

 private:
  const std::string name_;
  const std::shared_ptr<const std::string> text_;
  const std::string identity_;
};

}  // namespace

std::unique_ptr<Store> MemoryStore(std::string name, std::string bytes) {
  return std::make_unique<MemoryStoreImpl>(std::move(name), std::move(bytes));
}

}  // namespace barn
