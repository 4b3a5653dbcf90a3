#include "coordinator/models/model_names.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/http/url.h"
#include "proto/base/status.h"

namespace barn {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kNameBytesMax = 256;
constexpr size_t kModelsMax = 4096;
constexpr std::streamsize kFileBytesMax = 4 << 20;
constexpr char kFileName[] = ".barn-models.json";

bool IsUrl(const std::string& text) { return absl::StartsWith(text, "http://") || absl::StartsWith(text, "https://"); }

bool IsName(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || absl::StrContains("._:/@+-", std::string(1, static_cast<char>(c)));
  });
  return plain && !name.empty() && name.size() <= kNameBytesMax && name.front() != '/' && name.front() != '.';
}

bool IsModelFile(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = entry.path().filename().string();
  if (!entry.is_regular_file(error) || name.front() == '.' || !absl::EndsWithIgnoreCase(name, ".gguf")) return false;
  const size_t part = name.rfind("-of-");
  return part == name.npos || part < 6 || !std::isdigit(static_cast<unsigned char>(name[part - 1])) ||
         name.substr(part - 5, 5) == "00001";  // The first of several parts stands for all.
}

// The file, or all parts of the model that it is the first of.
std::vector<fs::path> PartsOf(const fs::path& file) {
  const std::string name = file.filename().string();
  const size_t part = name.rfind("-00001-of-");
  if (part == name.npos) return {file};
  std::vector<fs::path> parts;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(file.parent_path(), error)) {
    const std::string other = entry.path().filename().string();
    constexpr size_t kNumber = 6;  // "-00001"
    if (other.size() == name.size() && absl::StartsWith(other, name.substr(0, part + 1)) &&
        absl::EndsWith(other, name.substr(part + kNumber))) {
      parts.push_back(entry.path());
    }
  }
  return parts;
}

int64_t SizeOf(const fs::path& file) {
  int64_t bytes = 0;
  for (const fs::path& part : PartsOf(file)) {
    std::error_code error;
    const auto part_bytes = fs::file_size(part, error);
    if (!error) bytes += static_cast<int64_t>(part_bytes);
  }
  return bytes;
}

int64_t CreatedAt(const fs::path& file) {
  std::error_code error;
  const auto written = fs::last_write_time(file, error);
  if (error) return 0;
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::file_clock::to_sys(written).time_since_epoch())
      .count();
}

NamedModel OfFile(const fs::path& file) {
  return {.location = file.string(), .created = CreatedAt(file), .size_bytes = SizeOf(file)};
}

// Model files right inside, by path.
std::vector<fs::path> FilesOf(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (IsModelFile(entry)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<ModelNames> ModelNames::Open(std::map<std::string, NamedModel> configured, const std::string& folder,
                                            const NamedModel& defaults, const std::vector<std::string>& pinned) {
  std::error_code error;
  std::string canonical;
  if (!folder.empty()) {
    canonical = fs::canonical(folder, error).string();
    if (error || !fs::is_directory(canonical, error)) {
      return absl::NotFoundError(absl::StrFormat("the folder of models %s is not there", folder));
    }
  }
  ModelNames names(std::move(canonical), defaults);
  for (auto& [name, model] : configured) {
    if (!IsName(name)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "'%s' cannot be a model's name: letters, digits and ._:/@+- can, at most %d bytes", name, kNameBytesMax));
    }
    model.configured = true;
    names.all_[name] = std::move(model);
  }
  BARN_RETURN_IF_ERROR(names.ReadFile());
  names.Scan();
  for (const std::string& name : pinned) {
    const std::string root = names.Root(names.Find(name));
    if (root.empty()) return absl::NotFoundError(absl::StrFormat("there is no model '%s' to pin", name));
    names.all_.at(root).pinned = true;
  }
  return names;
}

NamedModel ModelNames::WithDefaults(NamedModel model) const {
  model.keep_alive = defaults_.keep_alive;
  model.context_tokens = defaults_.context_tokens;
  model.chat_template = defaults_.chat_template;
  return model;
}

std::vector<std::string> ModelNames::Scan() {
  std::vector<std::string> gone;
  if (folder_.empty()) return gone;
  std::map<std::string, NamedModel> found;
  for (const fs::path& file : FilesOf(folder_)) found[FileStem(file.string())] = OfFile(file);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string sub = entry.path().filename().string();
    if (!entry.is_directory(error) || sub.front() == '.') continue;
    const std::vector<fs::path> files = FilesOf(entry.path());
    for (const fs::path& file : files) {
      found[files.size() == 1 ? sub : absl::StrCat(sub, "/", FileStem(file.string()))] = OfFile(file);
    }
  }
  for (auto model = all_.begin(); model != all_.end();) {
    const bool of_folder = !model->second.configured && !added_.contains(model->first);
    if (of_folder && !found.contains(model->first)) {
      gone.push_back(model->first);
      model = all_.erase(model);
    } else {
      ++model;
    }
  }
  for (auto& [name, model] : found) {
    if (IsName(name) && all_.size() < kModelsMax) all_.try_emplace(name, WithDefaults(std::move(model)));
  }
  return gone;
}

std::string ModelNames::Find(const std::string& name) const {
  if (all_.contains(name)) return name;
  constexpr std::string_view kLatest = ":latest";
  if (!absl::EndsWith(name, ":latest")) return "";
  const std::string plain = name.substr(0, name.size() - kLatest.size());
  return all_.contains(plain) ? plain : "";
}

std::string ModelNames::Root(const std::string& name) const {
  const auto found = all_.find(name);
  return found == all_.end() || found->second.second_name_of.empty() ? name : found->second.second_name_of;
}

// Also by way of links, nothing outside of the folder is a model that a client may name.
std::optional<std::string> ModelNames::FileOfFolder(const std::string& path) const {
  if (folder_.empty()) return std::nullopt;
  std::error_code error;
  const fs::path file = fs::canonical(fs::path(folder_) / path, error);
  if (error || !fs::is_regular_file(file, error)) return std::nullopt;
  const std::string relative = file.lexically_relative(folder_).string();
  if (relative.empty() || absl::StartsWith(relative, "..")) return std::nullopt;
  return file.string();
}

absl::Status ModelNames::Add(const std::string& name, const std::string& from, absl::Time now) {
  if (!IsName(name)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "'%.64s' cannot be a model's name: letters, digits and ._:/@+- can, at most %d bytes", name, kNameBytesMax));
  }
  if (all_.size() >= kModelsMax) {
    return absl::PermissionDeniedError(absl::StrFormat("there are %d models, no more are taken", kModelsMax));
  }
  NamedModel model{.location = "", .created = absl::ToUnixSeconds(now)};
  if (IsUrl(from)) {
    model.location = from;
  } else if (const std::string existing = Find(from); !existing.empty()) {
    model.second_name_of = Root(existing);
    model.size_bytes = all_.at(model.second_name_of).size_bytes;
  } else if (const std::optional<std::string> file = FileOfFolder(from)) {
    model.location = *file;
    model.size_bytes = SizeOf(*file);
  } else {
    return absl::NotFoundError(absl::StrFormat("'%.200s' is neither a model here nor a file in its folder", from));
  }
  const auto found = all_.find(name);
  if (found != all_.end()) {
    const NamedModel& old = found->second;
    if (old.location == model.location && old.second_name_of == model.second_name_of) return absl::OkStatus();
    if (!model.second_name_of.empty() && model.second_name_of == name) return absl::OkStatus();
    return absl::AlreadyExistsError(absl::StrFormat("'%s' is another model's name", name));
  }
  all_[name] = added_[name] = WithDefaults(std::move(model));
  return WriteFile();
}

absl::Status ModelNames::Remove(const std::string& asked) {
  const std::string name = Find(asked);
  if (name.empty()) return absl::NotFoundError(absl::StrFormat("model '%.200s' not found", asked));
  const NamedModel& model = all_.at(name);
  if (model.configured) {
    return absl::PermissionDeniedError(absl::StrFormat("'%s' was given when the server was started", name));
  }
  for (const auto& [other, named] : all_) {
    if (named.second_name_of != name) continue;
    return absl::PermissionDeniedError(
        absl::StrFormat("'%s' is also called '%s'; delete that name first", name, other));
  }
  if (!added_.contains(name)) {
    for (const fs::path& part : PartsOf(model.location)) {
      std::error_code error;
      fs::remove(part, error);
      if (error) {
        return absl::PermissionDeniedError(absl::StrFormat("%s: %s", part.filename().string(), error.message()));
      }
    }
  }
  all_.erase(name);
  return added_.erase(name) > 0 ? WriteFile() : absl::OkStatus();
}

absl::Status ModelNames::ReadFile() {
  const fs::path path = fs::path(folder_) / kFileName;
  std::error_code error;
  if (folder_.empty() || !fs::exists(path, error)) return absl::OkStatus();
  std::ifstream in(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), kFileBytesMax + 1);
  text.resize(static_cast<size_t>(in.gcount()));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  bool whole = json.is_object() && text.size() <= kFileBytesMax && json.size() <= kModelsMax;
  for (auto one = json.begin(); whole && one != json.end(); ++one) {
    const Json& entry = one.value();
    whole = IsName(one.key()) && entry.is_object() && entry.value("location", Json()).is_string() &&
            entry.value("second_name_of", Json()).is_string() && entry.value("created", Json()).is_number_integer();
    if (!whole) break;
    const NamedModel model = WithDefaults({.location = entry["location"],
                                           .second_name_of = entry["second_name_of"],
                                           .created = entry["created"].get<int64_t>()});
    if (all_.try_emplace(one.key(), model).second) added_[one.key()] = model;
  }
  if (whole) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("%s does not hold names of models; move it away", path.string()));
}

absl::Status ModelNames::WriteFile() const {
  if (folder_.empty()) return absl::OkStatus();
  Json json = Json::object();
  for (const auto& [name, model] : added_) {
    json[name] = {{"location", model.location}, {"second_name_of", model.second_name_of}, {"created", model.created}};
  }
  const fs::path path = fs::path(folder_) / kFileName, partial = path.string() + ".new";
  {
    std::ofstream out(partial, std::ios::binary);
    out << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
    if (!out.flush()) return absl::PermissionDeniedError(absl::StrFormat("cannot write %s", partial.string()));
  }
  std::error_code error;
  fs::rename(partial, path, error);
  if (!error) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrFormat("cannot write %s: %s", path.string(), error.message()));
}

}  // namespace barn
