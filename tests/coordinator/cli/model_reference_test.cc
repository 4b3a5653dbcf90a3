#include "coordinator/cli/model_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace barn {
namespace {

TEST(ModelReference, FindsPathsUrlsAndTheEmbeddedModel) {
  const std::filesystem::path home = std::filesystem::path(testing::TempDir()) / "model_reference_test";
  std::filesystem::remove_all(home);
  setenv("BARN_HOME", home.c_str(), 1);
  for (const char* name : {"", "tiny-moe"}) {
    const auto embedded = ResolveModel(name);
    ASSERT_TRUE(embedded.ok()) << embedded.status();
    EXPECT_EQ(embedded->id, "tiny-moe");
    EXPECT_EQ(std::filesystem::file_size(embedded->location), 13'500'096);
  }
  const auto url = ResolveModel("https://host.test/some/Model-Q4_K_M-00001-of-00003.gguf?download=1");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->id, "Model-Q4_K_M");

  const std::filesystem::path file = home / "mine.gguf";
  std::ofstream(file) << "x";
  const auto path = ResolveModel(file.string());
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->id, "mine");
  EXPECT_EQ(path->location, file.string());

  const auto missing = ResolveModel("no-such-model");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), testing::HasSubstr("no-such-model"));
}

}  // namespace
}  // namespace barn
