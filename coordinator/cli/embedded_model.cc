#include "coordinator/cli/embedded_model.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "absl/strings/str_format.h"

// The bytes come through the assembler: a 13 MB array in C++ would take the compiler minutes.
__asm__(
    ".section .rodata\n"
    ".balign 64\n"
    "barn_embedded_model_begin:\n"
    ".incbin \"" BARN_EMBEDDED_MODEL
    "\"\n"
    "barn_embedded_model_end:\n"
    ".previous\n");
extern "C" const char barn_embedded_model_begin[];
extern "C" const char barn_embedded_model_end[];

namespace barn {

absl::StatusOr<std::string> EmbeddedModelFile(const std::string& barn_home) {
  const std::string_view bytes(barn_embedded_model_begin, barn_embedded_model_end - barn_embedded_model_begin);
  const std::filesystem::path directory = std::filesystem::path(barn_home) / "models";
  const std::filesystem::path path = directory / (std::string(kEmbeddedModelName) + "-Q4_K_M.gguf");
  std::error_code error;
  if (std::filesystem::file_size(path, error) == bytes.size() && !error) {
    return path.string();
  }
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::PermissionDeniedError(
        absl::StrFormat("cannot make %s: %s (BARN_HOME chooses another place)", directory.string(), error.message()));
  }
  const std::filesystem::path partial = directory / absl::StrFormat(".%s.%d", path.filename().string(), getpid());
  {
    std::ofstream out(partial, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!out.flush()) {
      std::filesystem::remove(partial, error);
      return absl::ResourceExhaustedError(
          absl::StrFormat("cannot write %d bytes to %s", bytes.size(), partial.string()));
    }
  }
  std::filesystem::rename(partial, path, error);
  if (error) {
    return absl::InternalError(absl::StrFormat("cannot rename to %s: %s", path.string(), error.message()));
  }
  return path.string();
}

}  // namespace barn
