#include "kernels/formats/kv_type.h"

namespace barn {
namespace {

constexpr KvType kTypes[] = {KvType::kF16, KvType::kF32, KvType::kQ8_0, KvType::kQ4_0};

}  // namespace

std::string_view KvTypeName(KvType type) {
  switch (type) {
    case KvType::kF16:
      return "f16";
    case KvType::kF32:
      return "f32";
    case KvType::kQ8_0:
      return "q8_0";
    case KvType::kQ4_0:
      return "q4_0";
  }
  return "?";
}

std::optional<KvType> ParseKvType(std::string_view name) {
  for (const KvType type : kTypes) {
    if (KvTypeName(type) == name) return type;
  }
  return std::nullopt;
}

std::vector<std::string> KvTypeNames() {
  std::vector<std::string> names;
  for (const KvType type : kTypes) names.emplace_back(KvTypeName(type));
  return names;
}

}  // namespace barn
