#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sharding/store/store.h"

namespace barn {

struct CacheOptions {
  std::string directory;  // Made when missing.
  int64_t bytes_max = 0;  // Of all blobs together. 0: 80 % of what the file system could give the cache at open.
};

// A range of a model's bytes.
struct CacheKey {
  std::string identity;  // Store::Identity()
  int part = 0;
  int64_t offset_bytes = 0;
  int64_t size_bytes = 0;
};

// A content-addressed cache of byte ranges in a directory:
//   blobs/<sha256 of the bytes>                        immutable, mapped read-only
//   refs/<sha256 of identity|part|offset|length>       holds the name of a blob
//   tmp/                                               ranges that are being fetched, each locked by its writer
// A crash leaves either a whole blob or an unlocked temporary file, which the next process removes. Several processes
// may share a directory. Full: the least recently used blobs go, but none that this process has mapped; what another
// process has mapped stays readable for it. Thread-safe. Must outlive its writers and ranges.
class Cache {
 public:
  static absl::StatusOr<std::unique_ptr<Cache>> Open(CacheOptions options);
  ~Cache();

  // A range that is not in the cache yet. Destroyed without Commit, it leaves nothing behind.
  class Writer {
   public:
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    // The bytes to fill, [key.size_bytes]; threads may fill different parts at a time.
    std::span<std::byte> bytes() { return bytes_; }
    // Makes the filled range durable under its SHA-256 and returns it. Once only.
    absl::StatusOr<std::unique_ptr<ByteRange>> Commit();

   private:
    friend class Cache;
    Writer(Cache* cache, CacheKey key) : cache_(cache), key_(std::move(key)) {}

    Cache* cache_;
    CacheKey key_;
    std::string path_;
    int file_ = -1;
    std::span<std::byte> bytes_;
  };

  // The range if the cache has it, its SHA-256 verified now. NotFound: it has not, or had it damaged (then it is gone).
  absl::StatusOr<std::unique_ptr<ByteRange>> Find(const CacheKey& key);

  // Makes room and begins a range. ResourceExhausted: it cannot fit beside what is in use (names the numbers).
  absl::StatusOr<std::unique_ptr<Writer>> Begin(const CacheKey& key);

  int64_t bytes_max() const { return bytes_max_; }

 private:
  class Blob;
  explicit Cache(std::string directory) : directory_(std::move(directory)) {}

  absl::StatusOr<std::unique_ptr<ByteRange>> MapBlob(const std::string& hash, int64_t size_bytes, bool verify);
  absl::Status MakeRoom(int64_t bytes);
  void Release(const std::string& hash);
  bool InUse(const std::string& hash);
  std::string Path(std::string_view folder, std::string_view name) const;

  const std::string directory_;
  int64_t bytes_max_ = 0;
  int lock_file_ = -1;  // flock: one process at a time changes the directory; lock_mutex_ does so between threads.
  std::mutex lock_mutex_;
  std::mutex use_mutex_;
  std::map<std::string, int> in_use_;  // Blob to number of mappings in this process. Guarded by use_mutex_.
  int64_t next_temp_ = 0;              // Guarded by lock_mutex_.
};

}  // namespace barn
