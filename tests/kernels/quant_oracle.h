#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace barn {

// The conformance vectors of all block formats (oracles/quant): one 8 x 512 matrix in every type, and its decoded
// values.
class QuantOracle {
 public:
  struct Entry {
    uint32_t type = 0;
    std::vector<int64_t> dims;  // Contracted dimension first.
    std::span<const std::byte> bytes;
  };

  QuantOracle() {
    const std::string folder = std::string(BARN_SOURCE_DIR) + "/../shared/oracles/quant/";
    std::ifstream gguf(folder + "quant_types.gguf", std::ios::binary);
    file_.assign(std::istreambuf_iterator<char>(gguf), std::istreambuf_iterator<char>());
    std::ifstream json(folder + "quant_types.json");
    json_ = nlohmann::json::parse(json);
    ReadHeader();
  }

  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  const nlohmann::json& types() const { return json_.at("types"); }

  std::vector<float> Floats(const std::string& name) const {
    const Entry& entry = tensors_.at(name);
    std::vector<float> values(entry.bytes.size() / sizeof(float));
    std::memcpy(values.data(), entry.bytes.data(), entry.bytes.size());
    return values;
  }

 private:
  template <class T>
  T Read() {
    T value;
    if (at_ + sizeof(T) > file_.size()) throw std::runtime_error("quant_types.gguf is truncated");
    std::memcpy(&value, file_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  std::string ReadString() {
    const uint64_t size = Read<uint64_t>();
    std::string text(file_.data() + at_, size);
    at_ += size;
    return text;
  }

  void SkipValue(uint32_t type) {
    constexpr int kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
      ReadString();
    } else if (type == 9) {
      const uint32_t element = Read<uint32_t>();
      for (uint64_t n = Read<uint64_t>(); n > 0; --n) SkipValue(element);
    } else {
      at_ += kBytes[type];
    }
  }

  void ReadHeader() {
    at_ = 8;  // Magic and version.
    const uint64_t tensor_count = Read<uint64_t>();
    const uint64_t pair_count = Read<uint64_t>();
    for (uint64_t i = 0; i < pair_count; ++i) {
      ReadString();
      SkipValue(Read<uint32_t>());
    }
    std::vector<std::pair<std::string, uint64_t>> offsets;
    for (uint64_t i = 0; i < tensor_count; ++i) {
      const std::string name = ReadString();
      Entry& entry = tensors_[name];
      entry.dims.resize(Read<uint32_t>());
      for (int64_t& dim : entry.dims) dim = Read<int64_t>();
      entry.type = Read<uint32_t>();
      offsets.emplace_back(name, Read<uint64_t>());
    }
    const size_t data = (at_ + 31) / 32 * 32;
    for (size_t i = 0; i < offsets.size(); ++i) {
      // Tensors lie in the order of their descriptions, so a tensor ends before the next begins (with padding).
      const size_t begin = data + offsets[i].second;
      const size_t end = i + 1 < offsets.size() ? data + offsets[i + 1].second : file_.size();
      tensors_[offsets[i].first].bytes = {reinterpret_cast<const std::byte*>(file_.data()) + begin, end - begin};
    }
  }

  std::vector<char> file_;
  size_t at_ = 0;
  nlohmann::json json_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace barn
