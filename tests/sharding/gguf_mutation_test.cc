#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/sharding/gguf_fuzz_entry.h"

namespace barn {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Corpus() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(fs::path(BARN_SOURCE_DIR) / "tests/data/fuzz/gguf")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const fs::path& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

void RunFile(const std::string& file) { RunGgufOnBytes(reinterpret_cast<const uint8_t*>(file.data()), file.size()); }

// Changes a few bytes, mostly to values that hurt length and count fields, or cuts, doubles or joins pieces.
std::string Mutate(std::string file, const std::vector<std::string>& corpus, std::mt19937& random) {
  const auto below = [&](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
  for (size_t edits = 1 + below(4); edits > 0 && !file.empty(); --edits) {
    const size_t at = below(file.size());
    switch (below(6)) {
      case 0:
        file[at] = static_cast<char>(below(256));
        break;
      case 1:
        file[at] = std::string("\x00\x01\x7f\x80\xff", 5)[below(5)];
        break;
      case 2:
        file.replace(at, std::min<size_t>(8, file.size() - at), std::string(8, below(2) == 0 ? '\xff' : '\0'));
        break;
      case 3:
        file.resize(at);
        break;
      case 4:
        file.insert(at, file.substr(below(file.size()), below(64)));
        break;
      default: {
        const std::string& other = corpus[below(corpus.size())];
        file = file.substr(0, at) + other.substr(std::min(at, other.size()));
      }
    }
  }
  return file;
}

TEST(GgufMutations, CorpusRuns) {
  const std::vector<std::string> corpus = Corpus();
  ASSERT_GE(corpus.size(), 8u);
  for (const std::string& file : corpus) {
    EXPECT_LT(file.size(), 4096u);
    RunFile(file);
  }
}

// What the fuzz target does, from a fixed seed: passes when the process is still here.
TEST(GgufMutations, SeededMutationsRun) {
  const std::vector<std::string> corpus = Corpus();
  ASSERT_FALSE(corpus.empty());
  std::mt19937 random(20261);
  for (int round = 0; round < 20'000; ++round) {
    const std::string& base = corpus[std::uniform_int_distribution<size_t>(0, corpus.size() - 1)(random)];
    RunFile(Mutate(base, corpus, random));
  }
}

}  // namespace
}  // namespace barn
