// `barn run`: one answer on stdout.
#include <cstdio>
#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/options.h"
#include "coordinator/text/incremental_decoder.h"
#include "proto/base/status.h"

#include <nlohmann/json.hpp>

namespace barn {
namespace {

struct RunSettings {
  ModelOptions model;
  LocalWorkerOptions local;
  std::string prompt;
  int64_t max_tokens = 128;
  SamplingParams sampling;
  int64_t seed = -1;
  bool json = false;
};

absl::Status RunPrompt(RunSettings& settings) {
  if (settings.seed >= 0) {
    settings.sampling.seed = static_cast<uint64_t>(settings.seed);
  }
  BARN_RETURN_IF_ERROR(Validate(settings.sampling));
  ServedCluster::Options options;
  options.model = settings.model;
  options.local = settings.local;
  options.workers_expected = settings.local.workers;
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(options));
  const Tokenizer& tokenizer = cluster->tokenizer();
  GenerateRequest request;
  BARN_ASSIGN_OR_RETURN(request.prompt,
                        tokenizer.Encode(settings.prompt, {.add_special = true, .parse_special = true}));
  BARN_RETURN_IF_ERROR(cluster->WaitReady());
  request.max_tokens = settings.max_tokens;
  request.sampling = settings.sampling;
  const size_t prompt_tokens = request.prompt.size();

  IncrementalDecoder decoder(tokenizer);
  std::string text;
  const auto print = [&](const std::string& piece) {
    text += piece;
    if (!settings.json) {
      std::fputs(piece.c_str(), stdout);
      std::fflush(stdout);
    }
  };
  BARN_ASSIGN_OR_RETURN(const RequestUpdate answer, cluster->Run(std::move(request), [&](const GeneratedToken& token) {
    if (!tokenizer.IsEndOfGeneration(token.id)) {
      print(decoder.Push(token.id));
    }
  }));
  print(decoder.Flush());
  if (settings.json) {
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : answer.tokens) {
      ids.push_back(token.id);
    }
    const nlohmann::json out = {{"text", text},
                                {"token_ids", ids},
                                {"prompt_tokens", prompt_tokens},
                                {"finish_reason", answer.finish == FinishReason::kLength ? "length" : "stop"}};
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("\n");
  }
  return absl::OkStatus();
}

}  // namespace

void AddRunCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "Print one answer");
  auto settings = std::make_shared<RunSettings>();
  settings->sampling.temperature = 0.8f;
  AddModelArgument(command, settings->model);
  command->add_option("prompt", settings->prompt, "Text to continue")->required();
  command->add_option("-n,--max-tokens", settings->max_tokens, "Longest answer")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->capture_default_str();
  command->add_option("--temperature", settings->sampling.temperature, "0: always the best token")
      ->capture_default_str();
  command->add_option("--top-k", settings->sampling.top_k, "Draw from the K best only (0: off)");
  command->add_option("--top-p", settings->sampling.top_p, "Draw from the smallest set with this probability");
  command->add_option("--min-p", settings->sampling.min_p,
                      "Drop tokens below this share of the best one's probability");
  command->add_option("--seed", settings->seed, "The same seed gives the same answer");
  command->add_flag("--json", settings->json, "Text, ids and reason as JSON");
  AddContextOptions(command, settings->model);
  AddLocalWorkerOptions(command, settings->local);
  SetWork(command, [settings] { return RunPrompt(*settings); });
}

}  // namespace barn
