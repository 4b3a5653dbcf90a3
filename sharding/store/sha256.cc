#include "sharding/store/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "absl/strings/escaping.h"
#include "kernels/check.h"

namespace barn {

std::string Sha256Hex(std::span<const std::byte> bytes) {
  std::array<char, EVP_MAX_MD_SIZE> digest;
  unsigned int length = 0;
  BARN_CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &length,
                        EVP_sha256(), nullptr) == 1);
  return absl::BytesToHexString(std::string(digest.data(), length));
}

std::string Sha256Hex(std::string_view text) { return Sha256Hex(std::as_bytes(std::span(text.data(), text.size()))); }

}  // namespace barn
