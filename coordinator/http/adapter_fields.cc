#include "coordinator/http/adapter_fields.h"

#include "absl/strings/str_cat.h"

namespace barn {

std::optional<std::map<int64_t, float>> ReadLora(Fields& fields) {
  const nlohmann::json* value = fields.Find("lora");
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || value->size() > kLoraEntriesMax) {
    fields.Fail("lora", absl::StrCat("must be a list of at most ", kLoraEntriesMax, " objects with id and scale"));
    return std::nullopt;
  }
  std::map<int64_t, float> scales;
  for (size_t i = 0; i < value->size(); ++i) {
    const nlohmann::json& entry = (*value)[i];
    if (!entry.is_object()) {
      fields.Fail("lora", "must be a list of objects with id and scale");
      return std::nullopt;
    }
    Fields of_entry(entry, absl::StrCat("lora[", i, "]."));
    const auto id = of_entry.OptionalInteger("id", 0, INT32_MAX);
    const double scale = of_entry.Number("scale", 0, -kLoraScaleMax, kLoraScaleMax);
    if (of_entry.ok() && !id.has_value()) of_entry.Fail("id", "is required");
    if (of_entry.ok() && !scales.emplace(*id, static_cast<float>(scale)).second) of_entry.Fail("id", "is named twice");
    if (!of_entry.ok()) {
      fields.Fail(*of_entry.error());
      return std::nullopt;
    }
  }
  return scales;
}

}  // namespace barn
