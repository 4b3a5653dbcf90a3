// `barn perplexity`: how well a model predicts a text, the way llama-perplexity counts, so that figures compare.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/kl_base.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/options.h"
#include "proto/base/status.h"

namespace barn {
namespace {

struct PerplexitySettings {
  ModelOptions model;
  LocalWorkerOptions local;
  std::string file;
  int64_t chunk_tokens = 512;
  int64_t chunks = 0;
  std::string base;
  std::string save_base;
  bool json = false;
};

// Mean and standard error of the negative log likelihood.
class Likelihood {
 public:
  void Add(double nll) {
    ++count_;
    sum_ += nll;
    squares_ += nll * nll;
  }
  int64_t count() const { return count_; }
  double perplexity() const { return std::exp(sum_ / static_cast<double>(count_)); }
  double standard_error() const {
    const double mean = sum_ / static_cast<double>(count_);
    const double variance = squares_ / static_cast<double>(count_) - mean * mean;
    return count_ < 2 ? 0 : std::sqrt(std::max(0.0, variance) / static_cast<double>(count_ - 1)) * perplexity();
  }

 private:
  int64_t count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(absl::StrFormat("cannot read %s", path));
  }
  return text.str();
}

// The text as chunks of chunk_tokens ids; the first id of each becomes BOS where the model wants one.
absl::StatusOr<std::vector<std::vector<int32_t>>> Chunks(const PerplexitySettings& settings,
                                                         const Tokenizer& tokenizer) {
  BARN_ASSIGN_OR_RETURN(const std::string text, ReadText(settings.file));
  BARN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                        tokenizer.Encode(text, {.add_special = true, .parse_special = false}));
  std::vector<std::vector<int32_t>> chunks;
  for (size_t begin = 0; begin + settings.chunk_tokens <= ids.size(); begin += settings.chunk_tokens) {
    if (settings.chunks > 0 && static_cast<int64_t>(chunks.size()) == settings.chunks) {
      break;
    }
    chunks.emplace_back(ids.begin() + begin, ids.begin() + begin + settings.chunk_tokens);
    if (tokenizer.vocabulary().add_bos) {
      chunks.back().front() = tokenizer.vocabulary().bos;
    }
  }
  if (chunks.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s has %d tokens, fewer than one chunk of %d", settings.file,
                                                      ids.size(), settings.chunk_tokens));
  }
  return chunks;
}

void Print(const PerplexitySettings& settings, const Likelihood& total, const std::vector<double>& running,
           const KlBase* base) {
  if (settings.json) {
    nlohmann::json out = {{"perplexity", total.perplexity()},
                          {"standard_error", total.standard_error()},
                          {"tokens_scored", total.count()},
                          {"chunks", running.size()},
                          {"running_perplexity", running}};
    if (base) {
      out["kl_divergence_mean"] = base->kl_mean();
      out["kl_divergence_standard_error"] = base->kl_standard_error();
      out["same_top_share"] = base->same_top_share();
    }
    std::printf("%s\n", out.dump(2).c_str());
    return;
  }
  std::printf("perplexity %.4f +/- %.4f (%d tokens scored in %d chunks of %d)\n", total.perplexity(),
              total.standard_error(), static_cast<int>(total.count()), static_cast<int>(running.size()),
              static_cast<int>(settings.chunk_tokens));
  if (base) {
    std::printf("KL divergence from the base %.6f +/- %.6f, same best token %.2f %%\n", base->kl_mean(),
                base->kl_standard_error(), 100 * base->same_top_share());
  }
}

absl::Status Perplexity(PerplexitySettings& settings) {
  ServedCluster::Options options;
  if (settings.model.context_tokens == 0) {
    settings.model.context_tokens = 2 * settings.chunk_tokens;
  }
  options.model = settings.model;
  options.local = settings.local;
  options.workers_expected = settings.local.workers;
  if (!settings.base.empty() || !settings.save_base.empty()) {
    options.step_bytes_max = int64_t{64} << 20;
  }
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(options));
  BARN_ASSIGN_OR_RETURN(const std::vector<std::vector<int32_t>> chunks, Chunks(settings, cluster->tokenizer()));
  std::optional<KlBase> base;
  if (!settings.base.empty() || !settings.save_base.empty()) {
    const bool save = settings.base.empty();
    BARN_ASSIGN_OR_RETURN(base, KlBase::Open(save ? settings.save_base : settings.base, save, cluster->vocabulary()));
  }
  BARN_RETURN_IF_ERROR(cluster->WaitReady());

  Likelihood total;
  std::vector<double> running;
  for (const std::vector<int32_t>& chunk : chunks) {
    GenerateRequest request;
    request.prompt = chunk;
    request.max_tokens = 0;
    request.score_from =
        settings.chunk_tokens / 2 + 1;  // The second half is scored; its first token has no prediction in it.
    request.score_top_logprobs = base ? static_cast<int>(cluster->vocabulary()) : 0;
    BARN_ASSIGN_OR_RETURN(const RequestUpdate scored, cluster->Run(std::move(request)));
    for (const PromptScore& score : scored.prompt_scores) {
      total.Add(-score.logprob);
      if (base) {
        BARN_RETURN_IF_ERROR(base->Add(score));
      }
    }
    running.push_back(total.perplexity());
    if (!settings.json) {
      std::fprintf(stderr, "[%d/%d] %.4f\n", static_cast<int>(running.size()), static_cast<int>(chunks.size()),
                   running.back());
    }
  }
  if (base) {
    BARN_RETURN_IF_ERROR(base->Finish());
  }
  Print(settings, total, running, settings.base.empty() ? nullptr : &*base);
  return absl::OkStatus();
}

}  // namespace

void AddPerplexityCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("perplexity", "How well a model predicts a text file");
  auto settings = std::make_shared<PerplexitySettings>();
  AddModelArgument(command, settings->model);
  command->add_option("textfile", settings->file, "UTF-8 text")->required();
  command->add_option("--ctx", settings->chunk_tokens, "Tokens of a chunk; the second half of each is scored")
      ->check(CLI::Range(int64_t{8}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--chunks", settings->chunks, "At most so many chunks (0: all)");
  command->add_option("--base", settings->base, "KL divergence from what --save-base stored of another model");
  command->add_option("--save-base", settings->save_base, "Store the scored positions' distributions");
  command->add_flag("--json", settings->json, "As JSON");
  AddContextOptions(command, settings->model);
  AddLocalWorkerOptions(command, settings->local);
  SetWork(command, [settings] { return Perplexity(*settings); });
}

}  // namespace barn
