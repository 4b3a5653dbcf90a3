#include "worker/memory/mapped_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace barn {
namespace {

// A store that cannot map, as a remote one.
class UnmappableStore : public Store {
 public:
  explicit UnmappableStore(std::string bytes) : inner_(MemoryStore("remote", std::move(bytes))) {}
  std::string Identity() const override { return inner_->Identity(); }
  std::string Name() const override { return inner_->Name(); }
  int64_t size_bytes() const override { return inner_->size_bytes(); }
  absl::Status Read(int64_t offset, std::span<std::byte> out) const override { return inner_->Read(offset, out); }
  absl::StatusOr<std::unique_ptr<ByteRange>> Map(int64_t, int64_t) const override {
    return absl::UnimplementedError("remote");
  }

 private:
  std::unique_ptr<Store> inner_;
};

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

GgufTensor TensorAt(int part, int64_t offset, int64_t size) {
  GgufTensor tensor;
  tensor.name = "t";
  tensor.part = part;
  tensor.offset_bytes = offset;
  tensor.size_bytes = size;
  return tensor;
}

TEST(MappedWeights, GivesTheBytesOfEveryPartForItsLife) {
  MappedWeights weights(
      {std::shared_ptr<const Store>(MemoryStore("one", "abcdefgh")), std::make_shared<UnmappableStore>("ijklmnop")});
  const auto first = *weights.Tensor(TensorAt(0, 2, 3));
  const auto second = *weights.Tensor(TensorAt(1, 4, 4));
  const auto longer = *weights.Tensor(TensorAt(1, 4, 2));
  EXPECT_EQ(Text(first), "cde");
  EXPECT_EQ(Text(second), "mnop");
  EXPECT_EQ(Text(longer), "mn");
  EXPECT_EQ(weights.Tensor(TensorAt(1, 4, 4))->data(), second.data());  // Not read twice.
}

TEST(MappedWeights, RefusesPlacesOutsideTheModel) {
  MappedWeights weights({std::shared_ptr<const Store>(MemoryStore("one", "abcdefgh"))});
  EXPECT_EQ(weights.Tensor(TensorAt(1, 0, 1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(weights.Tensor(TensorAt(-1, 0, 1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(weights.Tensor(TensorAt(0, 6, 3)).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(weights.Tensor(TensorAt(0, -1, 3)).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(weights.Tensor(TensorAt(0, INT64_MAX, INT64_MAX)).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace barn
