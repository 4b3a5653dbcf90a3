#include "tests/sharding/gguf_fuzz_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  barn::RunGgufOnBytes(data, size);
  return 0;
}
