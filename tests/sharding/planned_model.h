#pragma once

#include <gtest/gtest.h>

#include <string>

#include "sharding/catalogue.h"
#include "sharding/gguf.h"
#include "sharding/model_config.h"

namespace barn {

struct Model {
  Catalogue catalogue;
  ModelConfig config;
};

// From a header of shared/oracles/plan.
inline Model Load(const std::string& name) {
  const std::string path = BARN_SOURCE_DIR "/../shared/oracles/plan/" + name + ".gguf-header";
  const auto model = GgufModel::Open(path, {.header_only = true});
  EXPECT_TRUE(model.ok()) << model.status();
  return {*BuildCatalogue(**model), *ReadModelConfig(**model)};
}

}  // namespace barn
