#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

#include "kernels/cuda/stream.h"

namespace barn::gpu {

// Work for a stream that is written down instead of started, so that what is the same as before, to the last argument,
// can be started as one graph. While a log lives, Launch and the copies of runtime.h for its stream go there.
class WorkLog {
 public:
  // Puts the work on the stream, from the arguments that were written behind it.
  using Start = void (*)(const std::byte* arguments, Stream stream);

  explicit WorkLog(Stream stream);
  ~WorkLog();
  WorkLog(const WorkLog&) = delete;
  WorkLog& operator=(const WorkLog&) = delete;

  // The log that work for the stream goes to; null: there is none, or it is just being started.
  static WorkLog* Of(Stream stream);

  void Add(Start start);
  // Arguments of what was added last.
  template <class T>
  void Write(const T& value) {
    bytes_.resize((bytes_.size() + alignof(T) - 1) / alignof(T) * alignof(T));  // With zeros.
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }

  // Puts all of it on the stream, in order.
  void StartAll();
  void Clear();
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  // Equal for equal work.
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  const Stream stream_;
  bool starting_ = false;
  std::vector<std::byte> bytes_;
  std::vector<size_t> entries_;  // Where each begins.
};

// Reads arguments in the order in which they were written. `at`: aligned as strictly as any of them.
class WorkArguments {
 public:
  explicit WorkArguments(const std::byte* at) : begin_(at) {}
  template <class T>
  T Read() {
    offset_ = (offset_ + alignof(T) - 1) / alignof(T) * alignof(T);
    T value;
    std::memcpy(&value, begin_ + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

 private:
  const std::byte* begin_;
  size_t offset_ = 0;
};

// Writes Work::Run(stream, args...) down where the stream has a log; false: it has none, and nothing happened.
template <class Work, class... Args>
bool Logged(Stream stream, const Args&... args) {
  WorkLog* log = WorkLog::Of(stream);
  if (log == nullptr) return false;
  log->Add([](const std::byte* arguments, Stream to) {
    WorkArguments from(arguments);
    const std::tuple<Args...> all{from.Read<Args>()...};  // In braces: one after the other.
    std::apply([&](const Args&... each) { Work::Run(to, each...); }, all);
  });
  (log->Write(args), ...);
  return true;
}

// Work that is a call of function(args..., stream).
template <auto function>
struct CallWork {
  template <class... Args>
  static void Run(Stream stream, const Args&... args) {
    function(args..., stream);
  }
};

}  // namespace barn::gpu
