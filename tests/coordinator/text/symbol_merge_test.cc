#include "coordinator/text/symbol_merge.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace barn {
namespace {

using Priorities = std::map<std::string, int>;

// The definition: again and again, join the pair of highest priority, the leftmost among equals.
std::vector<std::string> MergeByDefinition(const std::string& text, const Priorities& priorities) {
  std::vector<std::string> parts;
  for (const char c : text) parts.push_back(std::string(1, c));
  while (true) {
    int best = -1;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto p = priorities.find(parts[i] + parts[i + 1]);
      if (p == priorities.end()) continue;
      if (best < 0 || p->second > priorities.at(parts[best] + parts[best + 1])) best = static_cast<int>(i);
    }
    if (best < 0) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + best + 1);
  }
}

std::vector<std::string> MergeByHeap(const std::string& text, const Priorities& priorities, SymbolMerger& merger) {
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < text.size(); ++i) symbols.push_back({.begin = static_cast<int32_t>(i), .length_bytes = 1});
  merger.Run(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<MergeResult> {
    const auto p = priorities.find(text.substr(left.begin, left.length_bytes + right.length_bytes));
    if (p == priorities.end()) return std::nullopt;
    return MergeResult{static_cast<double>(p->second), 0};
  });
  std::vector<std::string> parts;
  for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) {
    parts.push_back(text.substr(symbols[i].begin, symbols[i].length_bytes));
  }
  return parts;
}

TEST(SymbolMerger, MeetsTheDefinition) {
  std::mt19937 random(3);
  SymbolMerger merger;  // Used again and again, as encoders do.
  for (int round = 0; round < 2000; ++round) {
    const auto word = [&](int length) {
      std::string text;
      for (int i = 0; i < length; ++i) text.push_back(static_cast<char>('a' + random() % 3));
      return text;
    };
    Priorities priorities;
    for (int i = 0; i < 20; ++i) priorities[word(2 + random() % 4)] = static_cast<int>(random() % 8);  // With ties.
    const std::string text = word(random() % 30);
    EXPECT_EQ(MergeByHeap(text, priorities, merger), MergeByDefinition(text, priorities)) << text;
  }
}

}  // namespace
}  // namespace barn
