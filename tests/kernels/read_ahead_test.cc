#include "kernels/cpu/read_ahead.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace barn {
namespace {

std::shared_ptr<WeightBytes> Weight(const std::vector<std::byte>& memory) {
  auto weight = std::make_shared<WeightBytes>();
  weight->bytes = memory;
  return weight;
}

int64_t Pieces(ReadAhead& ahead) {
  int64_t pieces = 0;
  while (ahead.FetchSome()) ++pieces;
  return pieces;
}

TEST(ReadAhead, PlansWhatCameNextTheLastTime) {
  const std::vector<std::byte> small(4096), large(64 << 10);
  const auto first = Weight(small), second = Weight(large), third = Weight(small);
  ReadAhead ahead;
  ahead.PlanNext(1 << 20);
  EXPECT_EQ(Pieces(ahead), 0);
  for (const auto& weight : {first, second, third, first}) ahead.Note(weight);
  ahead.PlanNext(10 << 10);
  EXPECT_EQ(Pieces(ahead), 10) << "of the second alone";
  ahead.PlanNext(66 << 10);
  EXPECT_EQ(Pieces(ahead), 66) << "the second and half of the third";
  // The order is a ring, as one step follows another.
  ahead.PlanNext(100 << 10);
  EXPECT_EQ(Pieces(ahead), 100);
  ahead.PlanNext(0);
  EXPECT_EQ(Pieces(ahead), 0);
  ahead.PlanNext(1 << 20);
  ahead.Forget();
  EXPECT_EQ(Pieces(ahead), 0);
}

TEST(ReadAhead, AWeightThatIsGoneEndsThePlan) {
  const std::vector<std::byte> memory(4096);
  const auto first = Weight(memory), last = Weight(memory);
  ReadAhead ahead;
  {
    const auto middle = Weight(memory);
    for (const auto& weight : {first, middle, last, first}) ahead.Note(weight);
  }
  ahead.PlanNext(1 << 20);
  EXPECT_EQ(Pieces(ahead), 0);
  ahead.Note(last);
  ahead.PlanNext(1 << 20);
  EXPECT_EQ(Pieces(ahead), 32 * 4) << "first and last in turn, as many ranges as a plan holds";
}

TEST(ReadAhead, AsManyRangesAsGiven) {
  const std::vector<std::byte> memory(8192);
  const std::vector<std::span<const std::byte>> wanted(100, std::span(memory).first(2048));
  ReadAhead ahead;
  ahead.Plan(std::span(wanted).first(3), 1 << 20);
  EXPECT_EQ(Pieces(ahead), 6);
  ahead.Plan(wanted, 5 << 10);
  EXPECT_EQ(Pieces(ahead), 5);
  ahead.Plan(wanted, 1 << 20);
  EXPECT_EQ(Pieces(ahead), 64) << "32 ranges are the most";
}

// For ThreadSanitizer: plans change while others fetch.
TEST(ReadAhead, OthersFetchWhileOnePlans) {
  const std::vector<std::byte> memory(16 << 10);
  const auto first = Weight(memory), second = Weight(memory);
  ReadAhead ahead;
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) ahead.FetchSome();
  });
  for (int i = 0; i < 20000; ++i) {
    ahead.Note(i % 2 == 0 ? first : second);
    ahead.PlanNext(i % 3 * 8192);
  }
  done = true;
  other.join();
}

}  // namespace
}  // namespace barn
