// One hop between stages over loopback: from the call of Send until the waiting thread has the frame, both ends in one
// process.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmark/benchmark.h"
#include "worker/exchange/exchange_server.h"
#include "worker/exchange/grpc_hop.h"

namespace barn {
namespace {

void BM_Hop(benchmark::State& state) {
  constexpr int64_t kWidth = 4096;  // 16 KiB a row.
  const int64_t rows = state.range(0);
  FrameRouter router;
  const auto server = ExchangeServer::Start("127.0.0.1:0", router).value();
  const auto queue = router.Begin({.epoch = 1, .rows_max = rows, .width = kWidth}, "token").value();
  const auto sender =
      CreateGrpcHopSender({.address = absl::StrCat("127.0.0.1:", server->port()), .token = "token"}).value();
  const std::vector<float> activations(static_cast<size_t>(rows * kWidth), 0.5f);
  int64_t step = 0;
  for (auto _ : state) {
    absl::Status status = sender->Send(1, ++step, rows, kWidth, activations);
    if (status.ok()) status = queue->Receive(1, step, absl::Now() + absl::Seconds(10)).status();
    if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  }
  state.SetBytesProcessed(state.iterations() * rows * kWidth * static_cast<int64_t>(sizeof(float)));
}

BENCHMARK(BM_Hop)->ArgName("rows")->Arg(1)->Arg(32)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace barn

BENCHMARK_MAIN();
