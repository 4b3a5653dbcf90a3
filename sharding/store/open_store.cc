#include "sharding/store/file_store.h"
#include "sharding/store/http_store.h"
#include "sharding/store/store.h"

namespace barn {

absl::StatusOr<std::unique_ptr<Store>> OpenStore(std::string_view reference) {
  if (reference.starts_with("http://") || reference.starts_with("https://")) {
    return OpenHttpStore(reference);
  }
  return OpenFileStore(reference);
}

}  // namespace barn
