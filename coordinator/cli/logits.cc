// `barn logits`: what the model thinks comes next, for comparing implementations.
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/number_list.h"
#include "coordinator/cli/options.h"
#include "proto/base/status.h"

namespace barn {
namespace {

struct LogitsSettings {
  ModelOptions model;
  LocalWorkerOptions local;
  std::string tokens;
  std::string out;
  int top = 20;
  int64_t greedy = 1;
  bool json = false;
};

void Print(const LogitsSettings& settings, const Tokenizer& tokenizer, const RequestUpdate& answer) {
  const GeneratedToken& first = answer.tokens.front();
  const double logsumexp = first.full_logits[first.top.front().id] - first.top.front().logprob;
  nlohmann::json top = nlohmann::json::array();
  for (const TokenLogprob& candidate : first.top) {
    top.push_back({{"id", candidate.id},
                   {"logit", first.full_logits[candidate.id]},
                   {"logprob", candidate.logprob},
                   {"piece", tokenizer.Piece(candidate.id, /*special=*/true)}});
  }
  if (settings.json) {
    nlohmann::json greedy = nlohmann::json::array();
    nlohmann::json margins = nlohmann::json::array();
    for (const GeneratedToken& token : answer.tokens) {
      greedy.push_back(token.id);
      margins.push_back(token.top[0].logprob - token.top[1].logprob);
    }
    const nlohmann::json out = {
        {"top", top}, {"logsumexp", logsumexp}, {"greedy_ids", greedy}, {"greedy_margins", margins}};
    std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return;
  }
  std::printf("logsumexp %.5f\n%8s %10s %10s  piece\n", logsumexp, "id", "logit", "logprob");
  for (const nlohmann::json& row : top) {
    std::printf("%8d %10.5f %10.5f  %s\n", row["id"].get<int>(), row["logit"].get<double>(),
                row["logprob"].get<double>(),
                row["piece"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
}

absl::Status Logits(const LogitsSettings& settings) {
  ServedCluster::Options options;
  options.model = settings.model;
  options.local = settings.local;
  options.workers_expected = settings.local.workers;
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(options));
  GenerateRequest request;
  BARN_ASSIGN_OR_RETURN(request.prompt, ParseTokenIds(settings.tokens, cluster->vocabulary()));
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError("--tokens is empty");
  }
  BARN_RETURN_IF_ERROR(cluster->WaitReady());
  request.max_tokens = settings.greedy;
  request.sampling.temperature = 0;
  request.top_logprobs = settings.top;
  request.full_logits = true;
  request.ignore_end = true;
  BARN_ASSIGN_OR_RETURN(const RequestUpdate answer, cluster->Run(std::move(request)));
  if (!settings.out.empty()) {
    const std::vector<float>& logits = answer.tokens.front().full_logits;
    std::ofstream file(settings.out, std::ios::binary);
    file.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size() * sizeof(float)));
    if (!file.flush()) {
      return absl::ResourceExhaustedError(absl::StrFormat("cannot write %s", settings.out));
    }
  }
  Print(settings, cluster->tokenizer(), answer);
  return absl::OkStatus();
}

}  // namespace

void AddLogitsCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("logits", "Best candidates after the last of some tokens");
  auto settings = std::make_shared<LogitsSettings>();
  AddModelArgument(command, settings->model);
  command->add_option("--tokens", settings->tokens, "Token ids like 1,2,3")->required();
  command->add_option("--out", settings->out, "File for every logit, as little-endian f32");
  command->add_option("--top", settings->top, "Candidates to print")->check(CLI::Range(2, 1000))->capture_default_str();
  command->add_option("--greedy", settings->greedy, "Tokens to generate greedily, reported with --json")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  command->add_flag("--json", settings->json, "As JSON");
  AddContextOptions(command, settings->model);
  AddLocalWorkerOptions(command, settings->local);
  SetWork(command, [settings] { return Logits(*settings); });
}

}  // namespace barn
