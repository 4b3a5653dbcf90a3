#include "sharding/show.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "sharding/byte_text.h"
#include "sharding/file_type.h"
#include "sharding/gguf_cursor.h"

namespace barn {
namespace {

// A name from the file for print: bare where it is plain, else quoted with escapes.
std::string Printable(const std::string& text) {
  std::string quoted = QuoteForMessage(text);
  return quoted == "\"" + text + "\"" ? text : quoted;
}

// JSON text must be UTF-8; the escaped form is.
std::string JsonText(const std::string& text) {
  const nlohmann::json json = text;
  try {
    (void)json.dump();
    return text;
  } catch (const nlohmann::json::type_error&) {
    return QuoteForMessage(text);
  }
}

// At most 2^63: the reader refuses larger products.
int64_t Elements(const GgufTensor& tensor) { return tensor.dims[0] * tensor.dims[1] * tensor.dims[2] * tensor.dims[3]; }

// What one layer holds.
struct LayerSummary {
  int64_t bytes = 0;
  int64_t experts = 0;
  int64_t expert_bytes = 0;  // One expert's part of every expert tensor.
  std::array<int64_t, kTensorRoles> bytes_by_role = {};
};

struct Summary {
  uint64_t parameters = 0;
  double bits_per_weight = 0;
  int64_t bytes_outside = 0;
  std::vector<LayerSummary> layers;
};

Summary Summarize(const Catalogue& catalogue) {
  Summary summary;
  summary.layers.resize(static_cast<size_t>(catalogue.layers));
  for (const CatalogueEntry& entry : catalogue.entries) {
    summary.parameters += static_cast<uint64_t>(Elements(entry.tensor));
    if (entry.layer < 0 || entry.layer >= catalogue.layers) {
      summary.bytes_outside += entry.tensor.size_bytes;
      continue;
    }
    LayerSummary& layer = summary.layers[static_cast<size_t>(entry.layer)];
    layer.bytes += entry.tensor.size_bytes;
    layer.bytes_by_role[static_cast<size_t>(entry.role)] += entry.tensor.size_bytes;
    layer.expert_bytes += entry.expert_bytes;
    layer.experts = std::max(layer.experts, entry.experts);
  }
  if (summary.parameters > 0) {
    summary.bits_per_weight =
        8.0 * static_cast<double>(catalogue.total_bytes) / static_cast<double>(summary.parameters);
  }
  return summary;
}

std::string FileType(const GgufModel& model) {
  const std::optional<int64_t> number = model.metadata().Int("general.file_type");
  if (!number) return "";
  return FileTypeName(*number).value_or(absl::StrFormat("unknown (%d)", *number));
}

nlohmann::json RolesJson(const std::array<int64_t, kTensorRoles>& bytes_by_role) {
  nlohmann::json json = nlohmann::json::object();
  for (int role = 0; role < kTensorRoles; ++role) {
    json[RoleName(static_cast<TensorRole>(role))] = bytes_by_role[static_cast<size_t>(role)];
  }
  return json;
}

nlohmann::json TensorJson(const CatalogueEntry& entry) {
  const GgufTensor& tensor = entry.tensor;
  nlohmann::json json = {{"name", JsonText(tensor.name)},
                         {"role", RoleName(entry.role)},
                         {"type", Info(tensor.dtype).name},
                         {"dims", std::vector<int64_t>(tensor.dims, tensor.dims + tensor.dim_count)},
                         {"part", tensor.part},
                         {"offset_bytes", tensor.offset_bytes},
                         {"size_bytes", tensor.size_bytes}};
  json["layer"] = entry.layer < 0 ? nlohmann::json() : nlohmann::json(entry.layer);
  if (entry.experts > 0) {
    json["experts"] = entry.experts;
    json["expert_bytes"] = entry.expert_bytes;
  }
  return json;
}

std::string HeadText(const GgufModel& model, const Catalogue& catalogue, const Summary& summary) {
  std::string text;
  absl::StrAppendFormat(&text, "architecture     %s\n", Printable(model.architecture()));
  absl::StrAppendFormat(&text, "name             %s\n",
                        Printable(model.metadata().String("general.name").value_or("")));
  absl::StrAppendFormat(&text, "parameters       %d\n", summary.parameters);
  absl::StrAppendFormat(&text, "file type        %s\n", FileType(model));
  absl::StrAppendFormat(&text, "bits per weight  %.2f\n", summary.bits_per_weight);
  absl::StrAppendFormat(&text, "tensors          %d in %d file%s, %d bytes (%s)\n", catalogue.entries.size(),
                        model.parts().size(), model.parts().size() == 1 ? "" : "s", catalogue.total_bytes,
                        ByteText(catalogue.total_bytes));
  absl::StrAppendFormat(&text, "layers           %d\n", catalogue.layers);
  absl::StrAppendFormat(&text, "head             %s\n\n",
                        catalogue.tied_head ? "the embedding (tied)" : "its own tensor");
  absl::StrAppendFormat(&text, "%-14s %16s %10s\n", "role", "bytes", "");
  for (int role = 0; role < kTensorRoles; ++role) {
    const int64_t bytes = catalogue.bytes_by_role[static_cast<size_t>(role)];
    if (bytes == 0) continue;
    absl::StrAppendFormat(&text, "%-14s %16d %10s\n", RoleName(static_cast<TensorRole>(role)), bytes, ByteText(bytes));
  }
  return text;
}

std::string LayersText(const Summary& summary) {
  constexpr std::array kColumns = {TensorRole::kAttention, TensorRole::kDenseFfn, TensorRole::kRouter,
                                   TensorRole::kExpert, TensorRole::kSharedExpert};
  std::string text = absl::StrFormat("\n%5s %14s", "layer", "bytes");
  for (const TensorRole role : kColumns) absl::StrAppendFormat(&text, " %14s", RoleName(role));
  absl::StrAppendFormat(&text, " %8s %14s\n", "experts", "one expert");
  for (size_t layer = 0; layer < summary.layers.size(); ++layer) {
    const LayerSummary& row = summary.layers[layer];
    absl::StrAppendFormat(&text, "%5d %14d", layer, row.bytes);
    for (const TensorRole role : kColumns) {
      absl::StrAppendFormat(&text, " %14d", row.bytes_by_role[static_cast<size_t>(role)]);
    }
    absl::StrAppendFormat(&text, " %8d %14d\n", row.experts, row.expert_bytes);
  }
  return text;
}

}  // namespace

std::string ShowText(const GgufModel& model, const Catalogue& catalogue) {
  const Summary summary = Summarize(catalogue);
  std::string text = HeadText(model, catalogue, summary);
  if (!summary.layers.empty()) text += LayersText(summary);
  absl::StrAppendFormat(&text, "\n%-40s %-14s %-8s %-24s %14s\n", "tensor", "role", "type", "shape", "bytes");
  for (const CatalogueEntry& entry : catalogue.entries) {
    const GgufTensor& tensor = entry.tensor;
    const std::string shape = absl::StrJoin(std::vector<int64_t>(tensor.dims, tensor.dims + tensor.dim_count), " x ");
    absl::StrAppendFormat(&text, "%-40s %-14s %-8s %-24s %14d\n", Printable(tensor.name), RoleName(entry.role),
                          Info(tensor.dtype).name, shape, tensor.size_bytes);
  }
  return text;
}

nlohmann::json ShowJson(const GgufModel& model, const Catalogue& catalogue) {
  const Summary summary = Summarize(catalogue);
  nlohmann::json json = {{"architecture", JsonText(model.architecture())},
                         {"name", JsonText(model.metadata().String("general.name").value_or(""))},
                         {"parts", model.parts().size()},
                         {"parameters", summary.parameters},
                         {"file_type", FileType(model)},
                         {"bits_per_weight", summary.bits_per_weight},
                         {"tensor_bytes", catalogue.total_bytes},
                         {"bytes_by_role", RolesJson(catalogue.bytes_by_role)},
                         {"tied_head", catalogue.tied_head},
                         {"outside_layers", {{"bytes", summary.bytes_outside}}},
                         {"layers", nlohmann::json::array()},
                         {"tensors", nlohmann::json::array()}};
  for (size_t layer = 0; layer < summary.layers.size(); ++layer) {
    const LayerSummary& row = summary.layers[layer];
    nlohmann::json item = {{"layer", layer}, {"bytes", row.bytes}, {"bytes_by_role", RolesJson(row.bytes_by_role)}};
    if (row.experts > 0) {
      item["experts"] = row.experts;
      item["expert_bytes"] = row.expert_bytes;
    }
    json["layers"].push_back(std::move(item));
  }
  for (const CatalogueEntry& entry : catalogue.entries) json["tensors"].push_back(TensorJson(entry));
  return json;
}

}  // namespace barn
