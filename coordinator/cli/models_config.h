#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

namespace barn {

// A model of `barn up` or `barn serve` that is one of several; from a flag, or a table [[models]] of the TOML file.
struct ModelSettings {
  std::string name = {};  // "": that of its file.
  std::string path = {};  // As ResolveModel takes it.
  bool pinned = false;
  std::string keep_alive = {};  // "": as --keep-alive.
  int64_t context_tokens = 0;
  std::string chat_template = {};
};

// What the TOML file said, once the command line has been read.
std::vector<ModelSettings>& ConfiguredModels();

// TOML with tables [[models]], which CLI11 knows no options for.
class ModelsConfig : public CLI::ConfigTOML {
 public:
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;
};

}  // namespace barn
