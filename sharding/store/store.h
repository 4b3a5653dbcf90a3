#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace barn {

// Bytes that stay readable and unchanged for the life of the object: a mapping of a file, or memory.
class ByteRange {
 public:
  virtual ~ByteRange() = default;
  virtual std::span<const std::byte> bytes() const = 0;

  // These will hardly be read again: a mapping gives back the memory of whole pages and would read them anew.
  virtual void Drop(int64_t /*offset*/, int64_t /*length*/) {}
};

// The seam for model bytes: a local file, an HTTP server, memory. Thread-safe.
class Store {
 public:
  virtual ~Store() = default;

  // A word that names these bytes for a cache: changes when the bytes may have changed (path, size and time; URL and
  // ETag).
  virtual std::string Identity() const = 0;
  virtual std::string Name() const = 0;  // For messages: the path or URL.
  virtual int64_t size_bytes() const = 0;

  // Copies [offset, offset + out.size()) to out. OutOfRange: beyond the end. Unavailable: the source failed, try again.
  virtual absl::Status Read(int64_t offset, std::span<std::byte> out) const = 0;

  // The range without a copy where the source allows (mmap); Unimplemented where it does not.
  virtual absl::StatusOr<std::unique_ptr<ByteRange>> Map(int64_t offset, int64_t length) const = 0;
};

// `reference` is a path or an http(s) URL. NotFound, Unavailable.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(std::string_view reference);

std::unique_ptr<Store> MemoryStore(std::string name, std::string bytes);

}  // namespace barn
