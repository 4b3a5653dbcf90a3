#pragma once

#include <cstdint>
#include <random>
#include <string>

#include <nlohmann/json.hpp>

namespace barn::grammar {

// Random JSON schemas of what the compiler supports: all types, bounds, patterns, formats, choices, recursion.
class RandomSchema {
 public:
  explicit RandomSchema(uint64_t seed) : random_(seed) {}

  nlohmann::ordered_json Make();

 private:
  using Json = nlohmann::ordered_json;
  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool Chance(int percent) { return Int(1, 100) <= percent; }

  Json Any(int depth);
  Json String();
  Json Number(bool integer);
  Json Constant();
  Json Array(int depth);
  Json Object(int depth);
  Json Choice(int depth);
  std::string Name();

  std::mt19937_64 random_;
  bool recursive_ = false;  // The document has $defs/node.
};

}  // namespace barn::grammar
