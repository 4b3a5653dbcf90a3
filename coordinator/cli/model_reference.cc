#include "coordinator/cli/model_reference.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_format.h"
#include "coordinator/cli/embedded_model.h"
#include "proto/base/status.h"

namespace barn {
namespace {

std::string IdOf(std::string_view location) {
  std::string_view name = location.substr(location.find_last_of('/') + 1);
  name = name.substr(0, name.find_first_of("?#"));
  if (name.ends_with(".gguf")) {
    name.remove_suffix(5);
  }
  const size_t part = name.rfind("-00001-of-");
  return std::string(part == std::string_view::npos ? name : name.substr(0, part));
}

}  // namespace

std::string BarnHome() {
  if (const char* home = std::getenv("BARN_HOME"); home != nullptr && *home != '\0') {
    return home;
  }
  const char* user = std::getenv("HOME");
  return (std::filesystem::path(user != nullptr ? user : ".") / ".barn").string();
}

absl::StatusOr<ModelReference> ResolveModel(std::string_view reference) {
  if (reference.starts_with("http://") || reference.starts_with("https://")) {
    return ModelReference{std::string(reference), IdOf(reference)};
  }
  std::error_code error;
  if (!reference.empty() && std::filesystem::is_regular_file(reference, error)) {
    // Workers may run in another folder.
    return ModelReference{std::filesystem::absolute(reference).string(), IdOf(reference)};
  }
  if (reference.empty() || reference == kEmbeddedModelName) {
    BARN_ASSIGN_OR_RETURN(std::string path, EmbeddedModelFile(BarnHome()));
    return ModelReference{std::move(path), kEmbeddedModelName};
  }
  return absl::NotFoundError(absl::StrFormat("%s is neither a file, nor an http(s) URL, nor a catalogue name (%s)",
                                             reference, kEmbeddedModelName));
}

}  // namespace barn
