#include "sharding/store/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/store/drop_pages.h"
#include "sharding/store/sha256.h"

namespace barn {
namespace fs = std::filesystem;
namespace {

constexpr size_t kHashCharacters = 64;

absl::Status ErrnoError(std::string_view what, const std::string& path) {
  const int error = errno;
  const std::string line = absl::StrFormat("cache: %s %s: %s", what, path, std::generic_category().message(error));
  return error == ENOSPC || error == EDQUOT ? absl::ResourceExhaustedError(line) : absl::UnavailableError(line);
}

std::string RefName(const CacheKey& key) {
  return Sha256Hex(absl::StrCat(key.identity, "|", key.part, "|", key.offset_bytes, "|", key.size_bytes));
}

absl::Status SyncDirectory(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0 || fsync(file) != 0) {
    absl::Status status = ErrnoError("fsync", path);
    if (file >= 0) {
      close(file);
    }
    return status;
  }
  close(file);
  return absl::OkStatus();
}

// Writes a small file so that a reader sees all of it or none.
absl::Status WriteDurably(const std::string& temp, const std::string& path, std::string_view text) {
  const int file = open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) {
    return ErrnoError("create", temp);
  }
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(file) == 0;
  absl::Status status = written ? absl::OkStatus() : ErrnoError("write", temp);
  close(file);
  if (status.ok() && rename(temp.c_str(), path.c_str()) != 0) {
    status = ErrnoError("rename", path);
  }
  if (!status.ok()) {
    unlink(temp.c_str());
  }
  return status;
}

// The blob that a reference file names; empty when there is none.
std::string ReadRef(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string hash(kHashCharacters, '\0');
  if (!file.read(hash.data(), kHashCharacters) || hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return "";
  }
  return hash;
}

// Holds the directory's lock, among threads and processes, while it lives.
class DirectoryLock {
 public:
  DirectoryLock(std::mutex& mutex, int file) : lock_(mutex), file_(file) {
    while (flock(file_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~DirectoryLock() { flock(file_, LOCK_UN); }

 private:
  std::lock_guard<std::mutex> lock_;
  int file_;
};

// Bytes of temporary files that are being written; removes those that a dead process left (nobody holds their lock).
int64_t SweepTemporary(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) {
      continue;
    }
    struct stat info;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) {
      unlink(entry.path().c_str());
    } else if (fstat(file, &info) == 0) {
      bytes += info.st_size;
    }
    close(file);
  }
  return bytes;
}

struct StoredBlob {
  std::string hash;
  int64_t bytes = 0;
  timespec used = {};
};

std::vector<StoredBlob> ListBlobs(const std::string& folder) {
  std::vector<StoredBlob> blobs;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    struct stat info;
    if (lstat(entry.path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      blobs.push_back({entry.path().filename().string(), info.st_size, info.st_mtim});
    }
  }
  std::sort(blobs.begin(), blobs.end(), [](const StoredBlob& a, const StoredBlob& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  return blobs;
}

// Removes references whose blob was evicted.
void SweepReferences(const std::string& refs, const std::string& blobs) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(refs, ignored)) {
    const std::string hash = ReadRef(entry.path());
    if (hash.empty() || access((blobs + hash).c_str(), F_OK) != 0) {
      unlink(entry.path().c_str());
    }
  }
}

}  // namespace

// A mapped blob; counts as in use while it lives.
class Cache::Blob : public ByteRange {
 public:
  Blob(Cache* cache, std::string hash) : cache_(cache), hash_(std::move(hash)) {
    std::lock_guard<std::mutex> lock(cache_->use_mutex_);
    ++cache_->in_use_[hash_];
  }
  ~Blob() override {
    if (!bytes_.empty()) {
      munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    }
    cache_->Release(hash_);
  }
  absl::Status Map(const std::string& path, int64_t size_bytes);
  std::span<const std::byte> bytes() const override { return bytes_; }
  void Drop(int64_t offset, int64_t length) override {
    DropPages(bytes_.subspan(static_cast<size_t>(offset), static_cast<size_t>(length)));
  }

 private:
  Cache* cache_;
  const std::string hash_;
  std::span<const std::byte> bytes_;
};

absl::Status Cache::Blob::Map(const std::string& path, int64_t size_bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    return errno == ENOENT ? absl::NotFoundError("cache: no blob " + hash_) : ErrnoError("open", path);
  }
  const absl::Cleanup closer = [file] { close(file); };
  struct stat info;
  if (fstat(file, &info) != 0 || info.st_size != size_bytes) {
    return absl::NotFoundError(absl::StrFormat("cache: blob %s has not the %d bytes of the range", hash_, size_bytes));
  }
  futimens(file, nullptr);  // Now: the order of eviction.
  if (size_bytes == 0) {
    return absl::OkStatus();
  }
  void* address = mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file, 0);
  if (address == MAP_FAILED) {
    return ErrnoError("map", path);
  }
  bytes_ = {static_cast<const std::byte*>(address), static_cast<size_t>(size_bytes)};
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Cache>> Cache::Open(CacheOptions options) {
  std::unique_ptr<Cache> cache(new Cache(options.directory));
  std::error_code error;
  for (const char* folder : {"blobs", "refs", "tmp"}) {
    fs::create_directories(cache->Path(folder, ""), error);
    if (error) {
      return absl::FailedPreconditionError(
          absl::StrFormat("cache: cannot make %s: %s", cache->Path(folder, ""), error.message()));
    }
  }
  const std::string lock_path = options.directory + "/lock";
  cache->lock_file_ = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (cache->lock_file_ < 0) {
    return ErrnoError("open", lock_path);
  }
  cache->bytes_max_ = options.bytes_max;
  if (options.bytes_max <= 0) {
    const fs::space_info space = fs::space(options.directory, error);
    int64_t held = 0;
    for (const StoredBlob& blob : ListBlobs(cache->Path("blobs", ""))) {
      held += blob.bytes;
    }
    cache->bytes_max_ = error ? 0 : (static_cast<int64_t>(space.available) + held) / 5 * 4;
  }
  const DirectoryLock lock(cache->lock_mutex_, cache->lock_file_);
  SweepTemporary(cache->Path("tmp", ""));
  SweepReferences(cache->Path("refs", ""), cache->Path("blobs", ""));
  return cache;
}

Cache::~Cache() {
  if (lock_file_ >= 0) {
    close(lock_file_);
  }
}

std::string Cache::Path(std::string_view folder, std::string_view name) const {
  return absl::StrFormat("%s/%s/%s", directory_, folder, name);
}

void Cache::Release(const std::string& hash) {
  std::lock_guard<std::mutex> lock(use_mutex_);
  const auto found = in_use_.find(hash);
  if (found != in_use_.end() && --found->second == 0) {
    in_use_.erase(found);
  }
}

bool Cache::InUse(const std::string& hash) {
  std::lock_guard<std::mutex> lock(use_mutex_);
  return in_use_.contains(hash);
}

absl::StatusOr<std::unique_ptr<ByteRange>> Cache::MapBlob(const std::string& hash, int64_t size_bytes, bool verify) {
  auto blob = std::make_unique<Blob>(this, hash);
  BARN_RETURN_IF_ERROR(blob->Map(Path("blobs", hash), size_bytes));
  if (verify && Sha256Hex(blob->bytes()) != hash) {
    return absl::DataLossError(absl::StrFormat("cache: blob %s is damaged", hash));
  }
  return blob;
}

absl::StatusOr<std::unique_ptr<ByteRange>> Cache::Find(const CacheKey& key) {
  const std::string ref = Path("refs", RefName(key));
  const std::string hash = ReadRef(ref);
  if (hash.empty()) {
    return absl::NotFoundError("cache: no such range");
  }
  absl::StatusOr<std::unique_ptr<ByteRange>> blob = MapBlob(hash, key.size_bytes, /*verify=*/true);
  if (blob.ok()) {
    return blob;
  }
  const DirectoryLock lock(lock_mutex_, lock_file_);
  unlink(ref.c_str());
  if (absl::IsDataLoss(blob.status())) {
    unlink(Path("blobs", hash).c_str());
    return absl::NotFoundError(blob.status().message());
  }
  return blob.status();
}

// Called under the directory's lock.
absl::Status Cache::MakeRoom(int64_t bytes) {
  int64_t held = SweepTemporary(Path("tmp", ""));
  const std::vector<StoredBlob> blobs = ListBlobs(Path("blobs", ""));
  for (const StoredBlob& blob : blobs) {
    held += blob.bytes;
  }
  for (const StoredBlob& blob : blobs) {
    if (held + bytes <= bytes_max_) {
      break;
    }
    if (!InUse(blob.hash) && unlink(Path("blobs", blob.hash).c_str()) == 0) {
      held -= blob.bytes;
    }
  }
  if (held + bytes > bytes_max_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "cache: %d bytes do not fit in %s: %d of at most %d bytes are in use", bytes, directory_, held, bytes_max_));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Cache::Writer>> Cache::Begin(const CacheKey& key) {
  if (key.size_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrFormat("cache: a range of %d bytes", key.size_bytes));
  }
  const DirectoryLock lock(lock_mutex_, lock_file_);
  BARN_RETURN_IF_ERROR(MakeRoom(key.size_bytes));
  std::unique_ptr<Writer> writer(new Writer(this, key));
  writer->path_ = Path("tmp", absl::StrFormat("%d-%p-%d", getpid(), static_cast<void*>(this), next_temp_++));
  writer->file_ = open(writer->path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (writer->file_ < 0) {
    return ErrnoError("create", writer->path_);
  }
  // posix_fallocate, not ftruncate: a full disk must be an error here, not a bus error when the mapping is written.
  if (flock(writer->file_, LOCK_EX | LOCK_NB) != 0 ||
      (errno = posix_fallocate(writer->file_, 0, key.size_bytes)) != 0) {
    return ErrnoError(absl::StrFormat("reserve %d bytes in", key.size_bytes), writer->path_);
  }
  void* address = mmap(nullptr, key.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer->file_, 0);
  if (address == MAP_FAILED) {
    return ErrnoError("map", writer->path_);
  }
  writer->bytes_ = {static_cast<std::byte*>(address), static_cast<size_t>(key.size_bytes)};
  return writer;
}

Cache::Writer::~Writer() {
  if (!bytes_.empty()) {
    munmap(bytes_.data(), bytes_.size());
  }
  if (file_ >= 0) {
    if (!path_.empty()) {
      unlink(path_.c_str());
    }
    close(file_);
  }
}

absl::StatusOr<std::unique_ptr<ByteRange>> Cache::Writer::Commit() {
  const std::string hash = Sha256Hex(bytes_);
  if (fsync(file_) != 0) {
    return ErrnoError("fsync", path_);
  }
  const DirectoryLock lock(cache_->lock_mutex_, cache_->lock_file_);
  if (rename(path_.c_str(), cache_->Path("blobs", hash).c_str()) != 0) {
    return ErrnoError("rename", path_);
  }
  path_.clear();
  BARN_RETURN_IF_ERROR(SyncDirectory(cache_->Path("blobs", "")));
  const std::string ref = RefName(key_);
  BARN_RETURN_IF_ERROR(WriteDurably(cache_->Path("tmp", "ref-" + ref), cache_->Path("refs", ref), hash));
  BARN_RETURN_IF_ERROR(SyncDirectory(cache_->Path("refs", "")));
  return cache_->MapBlob(hash, key_.size_bytes, /*verify=*/false);
}

}  // namespace barn
