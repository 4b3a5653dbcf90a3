#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/keep_alive.h"

namespace barn {

// A model under a name.
struct NamedModel {
  std::string location;  // Path or URL of its file, of the first of several parts; "" for a second name.
  std::string second_name_of = {};
  bool configured = false;  // Given at the start: clients cannot take it away.
  bool pinned = false;
  absl::Duration keep_alive = kKeepAliveDefault;
  int64_t context_tokens = 0;      // 0: chosen by the planner.
  std::string chat_template = {};  // A file; "": the model's own.
  int64_t created = 0;             // Unix time, seconds.
  int64_t size_bytes = 0;          // Of the file, or its parts; 0: not known yet.
};

// Which models there are: those given at the start, those that lie in a folder, and those that clients have added.
// What clients have added is kept in a file of the folder (.barn-models.json), or until the end without a folder. A
// file NAME.gguf is the model NAME; a subfolder with one model is a model of the subfolder's name, and of several ones
// each is SUBFOLDER/NAME. Names are at most 256 bytes of letters, digits and "._:/@+-". One thread at a time.
class ModelNames {
 public:
  // `folder` may be "". `defaults`: what models of the folder, and added ones, have besides their file. `pinned`: names
  // of those that shall be. NotFound: the folder, or a pinned name. DataLoss: the file of added names.
  static absl::StatusOr<ModelNames> Open(std::map<std::string, NamedModel> configured, const std::string& folder,
                                         const NamedModel& defaults = {.location = ""},
                                         const std::vector<std::string>& pinned = {});

  // Looks into the folder again. Returns names that are gone.
  std::vector<std::string> Scan();

  const std::map<std::string, NamedModel>& all() const { return all_; }
  // The name as it is listed: without the ":latest" that Ollama's clients add. "": there is none.
  std::string Find(const std::string& name) const;
  // Behind second names.
  std::string Root(const std::string& name) const;

  // A second name for a model; a name for a file of the folder; or for an http(s) URL. InvalidArgument: the name.
  // NotFound: `from`. AlreadyExists: the name is another model's. PermissionDenied: `from` lies elsewhere.
  absl::Status Add(const std::string& name, const std::string& from, absl::Time now);
  // NotFound. PermissionDenied: the model was given at the start, or has other names.
  absl::Status Remove(const std::string& name);

 private:
  ModelNames(std::string folder, const NamedModel& defaults) : folder_(std::move(folder)), defaults_(defaults) {}
  NamedModel WithDefaults(NamedModel model) const;
  absl::Status ReadFile();
  absl::Status WriteFile() const;
  std::optional<std::string> FileOfFolder(const std::string& path) const;

  std::string folder_;  // Canonical.
  NamedModel defaults_;
  std::map<std::string, NamedModel> all_;
  std::map<std::string, NamedModel> added_;  // Of all_.
};

}  // namespace barn
