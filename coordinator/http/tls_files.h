#pragma once

#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace barn {

// The server's certificate and key, read from PEM files and read again when they change. Thread-safe.
class TlsFiles {
 public:
  // InvalidArgument names the file that cannot be used.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(std::string certificate_chain, std::string private_key);

  // What new connections use. Looks at the files once in a second; while they make no sense, as in the middle of an
  // exchange of both, the old ones stay in use and the log says so.
  std::shared_ptr<boost::asio::ssl::context> Current(absl::Time now);

 private:
  TlsFiles(std::string certificate_chain, std::string private_key);
  std::string Stamp() const;
  absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> Read() const;

  const std::string certificate_chain_;
  const std::string private_key_;
  absl::Mutex mutex_;
  std::shared_ptr<boost::asio::ssl::context> current_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // Of the files that were read last.
  absl::Time looked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace barn
