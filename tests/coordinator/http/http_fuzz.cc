#include "tests/coordinator/http/fuzz_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  barn::FuzzRequest(data, size);
  return 0;
}
