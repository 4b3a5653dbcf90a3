#include "sharding/adapter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/formats/decode.h"
#include "proto/base/status.h"
#include "sharding/gguf_cursor.h"

namespace barn {
namespace {

constexpr char kPeftConfig[] = "adapter_config.json";
constexpr char kPeftTensors[] = "adapter_model.safetensors";

bool IsPlain(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

DType DTypeInMemory(DType dtype) { return IsPlain(dtype) ? dtype : DType::kF32; }

int64_t BytesInMemory(const AdapterFactor& factor) {
  return factor.rows * RowBytes(DTypeInMemory(factor.dtype), factor.cols);
}

// The row of a file that belongs at `row` of the model. A head of HF's files has elements (i, i + width / 2) of a
// rotary pair apart; files of llama's kind have them at (2 i, 2 i + 1).
int64_t FileRow(int64_t row, int64_t rows, int64_t heads) {
  const int64_t width = rows / heads;
  const int64_t within = row % width;
  return row - within + within % 2 * (width / 2) + within / 2;
}

std::string ShapeText(const AdapterFactor& factor) { return absl::StrFormat("[%d, %d]", factor.rows, factor.cols); }

}  // namespace

absl::Status CheckAdapterPair(const AdapterPair& pair, const GgufModel& base, const std::string& name) {
  const std::string quoted = QuoteForMessage(pair.tensor);
  const GgufTensor* weight = base.FindTensor(pair.tensor);
  if (weight == nullptr && pair.tensor == "output.weight") weight = base.FindTensor(kTokenEmbedding);
  if (weight == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: the model has no tensor %s", name, quoted));
  }
  const int64_t cols = weight->dims[0], rows = weight->dims[1], count = weight->dims[2] * weight->dims[3];
  if (count > 1) {
    return absl::UnimplementedError(absl::StrFormat(
        "%s: tensor %s holds %d matrices (experts or heads); adapters of such are not supported", name, quoted, count));
  }
  if (weight->dim_count < 2) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: tensor %s of the model is no matrix", name, quoted));
  }
  const bool embedding = pair.tensor == kTokenEmbedding;
  const int64_t rank = pair.rank();
  if (rank < 1 || rank > kAdapterRankMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tensor %s has rank %d, allowed are 1 to %d", name, quoted, rank, kAdapterRankMax));
  }
  const bool fits = embedding ? pair.a.rows == rows && pair.a.cols == rank && pair.b.rows == cols
                              : pair.a.rows == rank && pair.a.cols == cols && pair.b.rows == rows;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: A %s and B %s do not fit tensor %s, which is [%d, %d]", name,
                                                      ShapeText(pair.a), ShapeText(pair.b), quoted, rows, cols));
  }
  if (!std::isfinite(pair.scale)) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: tensor %s: alpha / rank is no number", name, quoted));
  }
  if (pair.heads_to_pair > 0 && pair.b.rows % (2 * pair.heads_to_pair) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: the %d rows of tensor %s are no pairs of %d heads", name,
                                                      pair.b.rows, quoted, pair.heads_to_pair));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Adapter>> Adapter::Open(std::span<const std::string> parts, const GgufModel& base) {
  std::vector<std::shared_ptr<const Store>> stores;
  for (const std::string& part : parts) {
    BARN_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenStore(part));
    stores.push_back(std::move(store));
  }
  return Read(std::move(stores), base);
}

absl::StatusOr<std::unique_ptr<Adapter>> Adapter::Read(std::vector<std::shared_ptr<const Store>> parts,
                                                       const GgufModel& base) {
  auto adapter = std::make_unique<Adapter>();
  if (parts.size() == 1) {
    BARN_ASSIGN_OR_RETURN(adapter->pairs_, ReadGgufAdapter(parts[0], base));
  } else if (parts.size() == 2) {
    BARN_ASSIGN_OR_RETURN(adapter->pairs_, ReadPeftAdapter(*parts[0], *parts[1], base));
  } else {
    return absl::InvalidArgumentError(absl::StrFormat("an adapter of %d files, want 1 or 2", parts.size()));
  }
  if (adapter->pairs_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(parts.back()->Name(), ": the adapter holds no tensors"));
  }
  for (const AdapterPair& pair : adapter->pairs_) {
    BARN_RETURN_IF_ERROR(CheckAdapterPair(pair, base, parts.back()->Name()));
  }
  std::sort(adapter->pairs_.begin(), adapter->pairs_.end(),
            [](const AdapterPair& a, const AdapterPair& b) { return a.tensor < b.tensor; });
  adapter->parts_ = std::move(parts);
  return adapter;
}

int64_t Adapter::parameters() const {
  int64_t sum = 0;
  for (const AdapterPair& pair : pairs_) sum += pair.a.rows * pair.a.cols + pair.b.rows * pair.b.cols;
  return sum;
}

int64_t Adapter::bytes() const {
  int64_t sum = 0;
  for (const AdapterPair& pair : pairs_) sum += BytesInMemory(pair.a) + BytesInMemory(pair.b);
  return sum;
}

std::string Adapter::Identity() const {
  std::string identity;
  for (const std::shared_ptr<const Store>& part : parts_) absl::StrAppend(&identity, part->Identity(), "\n");
  return identity;
}

absl::StatusOr<FactorRows> Adapter::ReadFactor(const AdapterFactor& factor, int64_t first, int64_t count) const {
  FactorRows rows{.dtype = DTypeInMemory(factor.dtype), .rows = count, .cols = factor.cols};
  const Store& file = *parts_[factor.part];
  if (factor.transposed) {
    const int64_t element = RowBytes(factor.dtype, 1);
    std::vector<std::byte> stored(static_cast<size_t>(factor.rows * factor.cols * element));
    BARN_RETURN_IF_ERROR(file.Read(factor.offset_bytes, stored));
    rows.bytes.resize(static_cast<size_t>(count * factor.cols * element));
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t col = 0; col < factor.cols; ++col) {
        std::memcpy(rows.bytes.data() + (row * factor.cols + col) * element,
                    stored.data() + (col * factor.rows + first + row) * element, element);
      }
    }
    return rows;
  }
  const int64_t row_bytes = RowBytes(factor.dtype, factor.cols);
  std::vector<std::byte> stored(static_cast<size_t>(count * row_bytes));
  BARN_RETURN_IF_ERROR(file.Read(factor.offset_bytes + first * row_bytes, stored));
  if (IsPlain(factor.dtype)) {
    rows.bytes = std::move(stored);
    return rows;
  }
  std::vector<float> values(static_cast<size_t>(factor.cols));
  const auto bytes = std::as_bytes(std::span(values));
  for (int64_t row = 0; row < count; ++row) {
    DecodeRow(factor.dtype, stored.data() + row * row_bytes, values.data(), factor.cols);
    rows.bytes.insert(rows.bytes.end(), bytes.begin(), bytes.end());
  }
  return rows;
}

absl::StatusOr<FactorRows> Adapter::ReadA(const AdapterPair& pair) const { return ReadFactor(pair.a, 0, pair.a.rows); }

absl::StatusOr<FactorRows> Adapter::ReadB(const AdapterPair& pair, int64_t first, int64_t count) const {
  if (pair.heads_to_pair == 0) return ReadFactor(pair.b, first, count);
  BARN_ASSIGN_OR_RETURN(const FactorRows all, ReadFactor(pair.b, 0, pair.b.rows));
  FactorRows rows{.dtype = all.dtype, .rows = count, .cols = all.cols};
  const int64_t row_bytes = RowBytes(all.dtype, all.cols);
  for (int64_t row = first; row < first + count; ++row) {
    const auto from = all.bytes.begin() + FileRow(row, all.rows, pair.heads_to_pair) * row_bytes;
    rows.bytes.insert(rows.bytes.end(), from, from + row_bytes);
  }
  return rows;
}

absl::StatusOr<std::vector<std::string>> AdapterParts(std::string_view reference) {
  const std::string text(reference);
  if (text.ends_with(kPeftTensors)) {
    const std::string folder = text.substr(0, text.size() - (sizeof(kPeftTensors) - 1));
    return std::vector<std::string>{folder + kPeftConfig, text};
  }
  std::error_code error;
  if (std::filesystem::is_directory(text, error)) {
    const std::filesystem::path folder(text);
    for (const char* name : {kPeftConfig, kPeftTensors}) {
      if (!std::filesystem::exists(folder / name, error)) {
        return absl::NotFoundError(absl::StrFormat("%s: there is no %s in this folder", text, name));
      }
    }
    return std::vector<std::string>{(folder / kPeftConfig).string(), (folder / kPeftTensors).string()};
  }
  return std::vector<std::string>{text};
}

}  // namespace barn
