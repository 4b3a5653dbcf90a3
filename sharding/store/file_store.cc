#include "sharding/store/file_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/store/bounds.h"
#include "sharding/store/drop_pages.h"

namespace barn {
namespace {

class FileMapping : public ByteRange {
 public:
  FileMapping(void* base, size_t mapped_bytes, size_t skip_bytes)
      : base_(base), mapped_bytes_(mapped_bytes), skip_bytes_(skip_bytes) {}
  ~FileMapping() override {
    if (base_ != nullptr) munmap(base_, mapped_bytes_);
  }
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  std::span<const std::byte> bytes() const override {
    if (base_ == nullptr) return {};
    return {static_cast<const std::byte*>(base_) + skip_bytes_, mapped_bytes_ - skip_bytes_};
  }

  void Drop(int64_t offset, int64_t length) override {
    DropPages(bytes().subspan(static_cast<size_t>(offset), static_cast<size_t>(length)));
  }

 private:
  void* const base_;
  const size_t mapped_bytes_;
  const size_t skip_bytes_;  // From the page start to the first byte of the range.
};

class FileStore : public Store {
 public:
  FileStore(std::string path, std::string identity, int fd, int64_t size_bytes)
      : path_(std::move(path)), identity_(std::move(identity)), fd_(fd), size_bytes_(size_bytes) {}
  ~FileStore() override { close(fd_); }
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;

  std::string Identity() const override { return identity_; }
  std::string Name() const override { return path_; }
  int64_t size_bytes() const override { return size_bytes_; }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    BARN_RETURN_IF_ERROR(CheckBounds(path_, offset, static_cast<int64_t>(out.size()), size_bytes_));
    while (!out.empty()) {
      const ssize_t count = pread(fd_, out.data(), std::min<size_t>(out.size(), INT_MAX), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return absl::ErrnoToStatus(errno, absl::StrFormat("cannot read %s at offset %d", path_, offset));
      if (count == 0) {
        return absl::DataLossError(
            absl::StrFormat("%s shrank while in use: no byte at offset %d of %d", path_, offset, size_bytes_));
      }
      out = out.subspan(static_cast<size_t>(count));
      offset += count;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<ByteRange>> Map(int64_t offset, int64_t length) const override {
    BARN_RETURN_IF_ERROR(CheckBounds(path_, offset, length, size_bytes_));
    if (length == 0) return std::make_unique<FileMapping>(nullptr, 0, 0);
    const int64_t page_bytes = sysconf(_SC_PAGESIZE);
    const int64_t skip = offset % page_bytes;
    const size_t mapped_bytes = static_cast<size_t>(length + skip);
    void* base = mmap(nullptr, mapped_bytes, PROT_READ, MAP_SHARED, fd_, offset - skip);
    if (base == MAP_FAILED) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrFormat("cannot map %d bytes of %s at offset %d", length, path_, offset));
    }
    return std::make_unique<FileMapping>(base, mapped_bytes, static_cast<size_t>(skip));
  }

 private:
  const std::string path_;
  const std::string identity_;
  const int fd_;
  const int64_t size_bytes_;
};

std::string CanonicalPath(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string canonical(resolved);
  std::free(resolved);
  return canonical;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenFileStore(std::string_view reference) {
  std::string path(reference);
  // O_NONBLOCK: opening a named pipe must not wait for its writer; it has no effect on regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrFormat("cannot open %s", path));
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, absl::StrFormat("cannot stat %s", path));
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrFormat("%s is not a regular file", path));
  }
  std::string identity = absl::StrFormat("file:%s:%d:%d.%09d", CanonicalPath(path), info.st_size, info.st_mtim.tv_sec,
                                         info.st_mtim.tv_nsec);
  return std::make_unique<FileStore>(std::move(path), std::move(identity), fd, info.st_size);
}

}  // namespace barn
