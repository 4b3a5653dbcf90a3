#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "sharding/model_config.h"
#include "tests/worker/model/oracle_model.h"

// A decode step of a slice that has run one like it takes no memory from the heap: not on the thread that calls, not
// on those of the device. Every form of new and delete of this program goes through the two functions below.

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

void* Allocate(std::size_t bytes, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) {
    allocations.fetch_add(1, std::memory_order_relaxed);
  }
  bytes = (bytes + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, bytes == 0 ? alignment : bytes);
}

void* AllocateOrThrow(std::size_t bytes, std::size_t alignment) {
  void* memory = Allocate(bytes, alignment);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}

// Apart, because g++ warns where it sees free() meet what new gave.
[[gnu::noinline]] void Free(void* memory) { std::free(memory); }

constexpr std::size_t kAlignment = alignof(std::max_align_t);

}  // namespace

// What the standard library's other forms (array, nothrow) call.
void* operator new(std::size_t bytes) { return AllocateOrThrow(bytes, kAlignment); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { Free(memory); }

namespace barn {
namespace {

constexpr int64_t kBlockTokens = 32;
constexpr int kSequences = 8;
constexpr int64_t kSequenceBlocks = 10;  // More than one chunk of attention.

class AllocationTest : public testing::TestWithParam<std::string> {
 protected:
  AllocationTest() : model_(LoadOracle(GetParam())) {
    for (int s = 0; s < kSequences; ++s) {
      for (int64_t b = 0; b < kSequenceBlocks; ++b) {
        blocks_[s].push_back(static_cast<int32_t>(s * kSequenceBlocks + b));
      }
    }
  }

  std::unique_ptr<Slice> MakeSlice(KvType kv_type, int64_t first_layer, int64_t last_layer, int64_t layers) {
    auto slice = Slice::Create({.model = model_.header.get(),
                                .weights = model_.weights.get(),
                                .device = device_.get(),
                                .first_layer = first_layer,
                                .last_layer = last_layer,
                                .is_first = first_layer == 0,
                                .is_last = last_layer == layers,
                                .kv_blocks = kSequences * kSequenceBlocks,
                                .kv_block_tokens = kBlockTokens,
                                .kv_type = kv_type,
                                .step_tokens_max = 64,
                                .context_tokens = kSequenceBlocks * kBlockTokens});
    EXPECT_TRUE(slice.ok()) << slice.status();
    return *std::move(slice);
  }

  // One token of each of `count` sequences at `position`; returns what it allocated.
  int64_t Step(Slice& slice, int count, int64_t position) {
    static constexpr int32_t kRows[kSequences] = {0, 1, 2, 3, 4, 5, 6, 7};
    static constexpr int32_t kTokens[kSequences] = {5, 17, 40, 99, 120, 200, 250, 300};
    SequenceStep sequences[kSequences];
    for (int s = 0; s < count; ++s) {
      sequences[s] = {.first_position = position, .tokens = {&kTokens[s], 1}, .blocks = blocks_[s]};
    }
    StepInput input{.sequences = {sequences, static_cast<size_t>(count)}, .activations = {}};
    activations_.resize(count * slice.width());
    if (!slice.is_first()) {
      input.activations = activations_;
    }
    std::vector<float> out(activations_.size());
    counting = true;
    const int64_t before = allocations;
    const absl::Status status =
        slice.is_last() ? slice.ForwardToLogits(input, {kRows, static_cast<size_t>(count)}, [](int64_t, Tensor) {})
                        : slice.Forward(input, out);
    const int64_t after = allocations;
    counting = false;
    EXPECT_TRUE(status.ok()) << status;
    activations_ = out;
    return after - before;
  }

  void ExpectNoAllocations(Slice& slice) {
    for (const int count : {1, kSequences}) {
      for (const int64_t position : {int64_t{0}, kSequenceBlocks * kBlockTokens - 3}) {
        Step(slice, count, position);
        EXPECT_EQ(Step(slice, count, position + 1), 0) << count << " sequences at position " << position + 1;
        EXPECT_EQ(Step(slice, count, position + 2), 0) << count << " sequences at position " << position + 2;
      }
    }
  }

  OracleModel model_;
  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 2, .pin = false});
  std::vector<int32_t> blocks_[kSequences];
  std::vector<float> activations_;
};

TEST_P(AllocationTest, ADecodeStepAllocatesNothing) {
  const int64_t layers = ReadModelConfig(*model_.header)->layers;
  for (const KvType kv_type : {KvType::kF16, KvType::kQ8_0, KvType::kQ4_0}) {
    SCOPED_TRACE(KvTypeName(kv_type));
    ExpectNoAllocations(*MakeSlice(kv_type, 0, layers, layers));
    if (layers > 1) {
      SCOPED_TRACE("first layer alone");
      ExpectNoAllocations(*MakeSlice(kv_type, 0, 1, layers));
      ExpectNoAllocations(*MakeSlice(kv_type, 1, layers, layers));
    }
  }
}

TEST(CountedNew, SeesEveryForm) {
  struct alignas(128) Wide {
    char bytes[128];
  };
  void* volatile seen = nullptr;  // Else the compiler may leave out a new whose result nobody looks at.
  counting = true;
  const int64_t before = allocations;
  int* one = new int;
  seen = one;
  int* array = new int[3];
  seen = array;
  Wide* wide = new Wide;
  seen = wide;
  int* quiet = new (std::nothrow) int;
  seen = quiet;
  const int64_t after = allocations;
  counting = false;
  EXPECT_EQ(after - before, 4) << seen;
  delete one;
  delete[] array;
  delete wide;
  delete quiet;
}

INSTANTIATE_TEST_SUITE_P(Models, AllocationTest, testing::ValuesIn(OracleNames()),
                         [](const auto& info) { return OracleTestName(info.param); });

}  // namespace
}  // namespace barn
