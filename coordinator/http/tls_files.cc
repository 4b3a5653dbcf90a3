#include "coordinator/http/tls_files.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

namespace ssl = boost::asio::ssl;

constexpr absl::Duration kLookEvery = absl::Seconds(1);

std::string FileStamp(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return "gone";
  return absl::StrFormat("%d %d %d.%09d", info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

}  // namespace

TlsFiles::TlsFiles(std::string certificate_chain, std::string private_key)
    : certificate_chain_(std::move(certificate_chain)), private_key_(std::move(private_key)) {}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(std::string certificate_chain, std::string private_key) {
  std::unique_ptr<TlsFiles> files(new TlsFiles(std::move(certificate_chain), std::move(private_key)));
  absl::MutexLock lock(&files->mutex_);
  files->stamp_ = files->Stamp();
  BARN_ASSIGN_OR_RETURN(files->current_, files->Read());
  return files;
}

std::string TlsFiles::Stamp() const {
  return absl::StrCat(FileStamp(certificate_chain_), " ", FileStamp(private_key_));
}

absl::StatusOr<std::shared_ptr<ssl::context>> TlsFiles::Read() const {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                       ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 | ssl::context::single_dh_use);
  boost::system::error_code error;
  context->use_certificate_chain_file(certificate_chain_, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the certificate chain %s cannot be used: %s", certificate_chain_, error.message()));
  }
  context->use_private_key_file(private_key_, ssl::context::pem, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrFormat("the private key %s cannot be used, or is not that of %s: %s",
                                                      private_key_, certificate_chain_, error.message()));
  }
  return context;
}

std::shared_ptr<ssl::context> TlsFiles::Current(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (now - looked_ < kLookEvery) return current_;
  looked_ = now;
  std::string stamp = Stamp();
  if (stamp == stamp_) return current_;
  stamp_ = std::move(stamp);
  absl::StatusOr<std::shared_ptr<ssl::context>> read = Read();
  if (read.ok()) {
    current_ = *std::move(read);
    spdlog::info("the certificate {} was read again", certificate_chain_);
  } else {
    spdlog::error("{}; the old one stays in use", std::string(read.status().message()));
  }
  return current_;
}

}  // namespace barn
