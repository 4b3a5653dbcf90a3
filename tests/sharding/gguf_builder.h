#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace barn {

// Little-endian bytes, appended piece by piece.
class Bytes {
 public:
  template <class T>
  Bytes& Number(std::type_identity_t<T> value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    text_.append(raw, sizeof(T));
    return *this;
  }
  Bytes& U32(uint32_t value) { return Number<uint32_t>(value); }
  Bytes& U64(uint64_t value) { return Number<uint64_t>(value); }
  Bytes& Raw(const std::string& raw) {
    text_ += raw;
    return *this;
  }
  // A GGUF string: 64-bit length, then the bytes.
  Bytes& String(const std::string& text) { return U64(text.size()).Raw(text); }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

// Value type ids of the GGUF specification.
enum GgufTypeId : uint32_t {
  kIdU8,
  kIdI8,
  kIdU16,
  kIdI16,
  kIdU32,
  kIdI32,
  kIdF32,
  kIdBool,
  kIdString,
  kIdArray,
  kIdU64,
  kIdI64,
  kIdF64
};

inline std::string KvString(const std::string& key, const std::string& value) {
  return Bytes().String(key).U32(kIdString).String(value).str();
}
inline std::string KvU32(const std::string& key, uint32_t value) {
  return Bytes().String(key).U32(kIdU32).U32(value).str();
}
inline std::string KvI32(const std::string& key, int32_t value) {
  return Bytes().String(key).U32(kIdI32).Number<int32_t>(value).str();
}
inline std::string KvU16(const std::string& key, uint16_t value) {
  return Bytes().String(key).U32(kIdU16).Number<uint16_t>(value).str();
}
inline std::string KvF32(const std::string& key, float value) {
  return Bytes().String(key).U32(kIdF32).Number<float>(value).str();
}
inline std::string KvI32Array(const std::string& key, const std::vector<int32_t>& values) {
  Bytes bytes;
  bytes.String(key).U32(kIdArray).U32(kIdI32).U64(values.size());
  for (const int32_t value : values) bytes.Number<int32_t>(value);
  return bytes.str();
}

// A tensor's entry in the header.
inline std::string TensorInfo(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                              uint64_t offset) {
  Bytes bytes;
  bytes.String(name).U32(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) bytes.U64(dim);
  return bytes.U32(type).U64(offset).str();
}

// A GGUF file from parts that may lie.
struct GgufFile {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count = {};  // Unset: the truth.
  std::optional<uint64_t> metadata_count = {};
  std::vector<std::string> metadata = {};
  std::vector<std::string> tensors = {};
  uint64_t data_bytes = 0;
  uint64_t alignment = 32;

  std::string Build() const {
    Bytes bytes;
    bytes.Raw(magic).U32(version);
    bytes.U64(tensor_count.value_or(tensors.size())).U64(metadata_count.value_or(metadata.size()));
    for (const std::string& entry : metadata) bytes.Raw(entry);
    for (const std::string& entry : tensors) bytes.Raw(entry);
    std::string file = bytes.str();
    if (data_bytes > 0) file.resize((file.size() + alignment - 1) / alignment * alignment + data_bytes);
    return file;
  }
};

// Shape of a small llama model made of zeros, every tensor in F32.
struct TinyModel {
  std::string architecture = "llama";
  uint32_t layers = 2;
  uint32_t width = 32;
  uint32_t vocabulary = 8;
  uint32_t experts = 0;
  uint32_t nextn_layers = 0;  // Of `layers`.
  bool tied = false;
  std::vector<std::string> more_metadata = {};

  GgufFile File() const {
    GgufFile file;
    const std::string prefix = architecture + ".";
    file.metadata = {KvString("general.architecture", architecture), KvU32(prefix + "block_count", layers),
                     KvU32(prefix + "embedding_length", width), KvU32(prefix + "context_length", 8192),
                     KvU32(prefix + "attention.head_count", 4)};
    if (experts > 0) {
      file.metadata.push_back(KvU32(prefix + "expert_count", experts));
      file.metadata.push_back(KvU32(prefix + "expert_used_count", 2));
    }
    if (nextn_layers > 0) file.metadata.push_back(KvU32(prefix + "nextn_predict_layers", nextn_layers));
    file.metadata.insert(file.metadata.end(), more_metadata.begin(), more_metadata.end());
    const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
      uint64_t bytes = 4;
      for (const uint64_t dim : dims) bytes *= dim;
      file.tensors.push_back(TensorInfo(name, dims, 0, file.data_bytes));
      file.data_bytes += (bytes + 31) / 32 * 32;
    };
    add("token_embd.weight", {width, vocabulary});
    if (!tied) add("output.weight", {width, vocabulary});
    add("output_norm.weight", {width});
    add("rope_freqs.weight", {4});
    for (uint32_t layer = 0; layer < layers; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      add(block + "attn_norm.weight", {width});
      add(block + "attn_q.weight", {width, width});
      if (experts > 0) {
        add(block + "ffn_gate_inp.weight", {width, experts});
        add(block + "ffn_up_exps.weight", {width, 16, experts});
        add(block + "ffn_up_exps.bias", {16, experts});
        add(block + "ffn_up_shexp.weight", {width, 16});
      } else {
        add(block + "ffn_up.weight", {width, 64});
      }
    }
    return file;
  }
};

}  // namespace barn
