// `barn up` and `barn serve`: a coordinator with its HTTP server, with and without worker processes of its own.
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/http_settings.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/lora_option.h"
#include "coordinator/cli/options.h"
#include "coordinator/cli/restart_pause.h"
#include "coordinator/cli/serve_models.h"
#include "coordinator/cli/stop_signal.h"
#include "coordinator/http/server.h"
#include "coordinator/models/model_shelf.h"
#include "coordinator/models/opened_model.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"

namespace barn {
namespace {

struct ServeSettings {
  ModelOptions model;
  ServedModelsSettings models;
  LocalWorkerOptions local;
  SchedulingOptions scheduling;
  int workers_expected = 1;
  HttpSettings http;
  std::string cluster_listen = "127.0.0.1:7070";
  std::string token;
  std::string draft = "ngram";
  std::string chat_template;  // A file; empty: the model's own.
  std::vector<std::string> lora;
};

// Tells a person when the model becomes ready or stops being so.
void ReportChange(const EngineState& state, bool& was_ready, const std::string& url, const std::string& id) {
  if (state.ready != was_ready) {
    was_ready = state.ready;
    if (state.ready) {
      std::printf("ready: %s on %s/v1 (%d workers, context %d tokens)\n", id.c_str(), url.c_str(),
                  static_cast<int>(state.workers.size()), static_cast<int>(state.context_tokens_max));
    } else {
      std::printf("not ready: %s\n", state.reason.c_str());
    }
    std::fflush(stdout);
  }
}

// A local worker that ended is started again: a crash of one must not need a person.
absl::Status ReviveWorkers(ServedCluster& cluster, const Clock& clock, std::vector<RestartPause>& pauses) {
  for (size_t i = 0; i < cluster.children().size(); ++i) {
    if (!cluster.children()[i].Running() && pauses[i].Over(clock.Now())) {
      pauses[i].Started(clock.Now());
      std::printf("worker local-%d ended; starting it again\n", static_cast<int>(i));
      std::fflush(stdout);
      BARN_RETURN_IF_ERROR(cluster.StartWorker(static_cast<int>(i)));
    }
  }
  return absl::OkStatus();
}

ServedCluster::Options ClusterOptionsOf(const ServeSettings& settings) {
  ServedCluster::Options options;
  options.model = settings.model;
  options.model.model = settings.models.only();
  options.local = settings.local;
  options.scheduling = settings.scheduling;
  options.scheduling.recovery_max = absl::Minutes(2);
  options.workers_expected = settings.workers_expected;
  options.listen = settings.cluster_listen;
  options.token = settings.token;
  options.draft = settings.draft == "ngram";
  return options;
}

std::string Greet(const ServeSettings& settings, const HttpOptions& http, const HttpServer& server,
                  ServedCluster& cluster) {
  const std::string url =
      absl::StrFormat("%s://%s:%d", http.tls_key.empty() ? "http" : "https", http.host, server.port());
  std::printf("barn %s: HTTP on %s, cluster on port %d\n", std::string(BarnVersion()).c_str(), url.c_str(),
              cluster.engine().port());
  if (http.gate == nullptr && http.host != "127.0.0.1" && http.host != "localhost" && http.host != "::1") {
    std::fprintf(stderr,
                 "warning: whoever reaches %s may use it; --require-keys asks for a key (see barn key create)\n",
                 settings.http.listen.c_str());
  }
  if (settings.local.workers == 0) {
    std::printf("add a worker: BARN_TOKEN=%s barn worker --join %s\n", cluster.token().c_str(),
                settings.cluster_listen.c_str());
  }
  std::fflush(stdout);
  return url;
}

// Until somebody ends it: tells of changes, and starts workers again.
absl::Status Watch(ServedCluster& cluster, StopSignal& stop, const std::function<void()>& report) {
  const SystemClock clock;
  RestartPause pause;
  pause.Started(clock.Now());
  std::vector<RestartPause> pauses(cluster.children().size(), pause);
  do {
    report();
    BARN_RETURN_IF_ERROR(ReviveWorkers(cluster, clock, pauses));
  } while (!stop.Wait(absl::Milliseconds(200)));
  std::printf("stopping\n");
  return absl::OkStatus();
}

absl::Status ServeOne(const ServeSettings& settings, const HttpOptions& http, StopSignal& stop) {
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(ClusterOptionsOf(settings)));
  ServedModel served{.id = cluster->reference().id,
                     .aliases = {},
                     .created = absl::ToUnixSeconds(absl::Now()),
                     .tokenizer = cluster->tokenizer(),
                     .reasoning = settings.http.reasoning,
                     .context_tokens = cluster->context_tokens_trained()};
  BARN_RETURN_IF_ERROR(ChooseTemplate(settings.chat_template, cluster->model(), std::string(BarnVersion()), served));
  served.adapters = std::make_shared<ServedAdapters>(cluster->engine(), cluster->model(), std::vector{served.id});
  BARN_RETURN_IF_ERROR(BeginAdapters(settings.lora, *served.adapters));
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> server, HttpServer::Create(http, served, cluster->engine()));
  const std::string url = Greet(settings, http, *server, *cluster);
  if (settings.local.workers > 0) {
    const absl::Status ready = cluster->WaitReady([&stop] { return stop.Wait(absl::ZeroDuration()); });
    if (absl::IsCancelled(ready)) return absl::OkStatus();
    BARN_RETURN_IF_ERROR(ready);
    BARN_RETURN_IF_ERROR(AwaitAdapters(settings.lora, *served.adapters));
  }
  bool was_ready = false;
  return Watch(*cluster, stop, [&] { ReportChange(cluster->engine().State(), was_ready, url, served.id); });
}

absl::Status ServeSeveral(const ServeSettings& settings, const HttpOptions& http, StopSignal& stop) {
  if (!settings.lora.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--lora %s: of several models, which? POST /v1/load_lora_adapter with \"model\" brings adapters while serving",
        settings.lora.front()));
  }
  BARN_ASSIGN_OR_RETURN(ModelNames names,
                        OpenModelNames(settings.models, settings.model.context_tokens, settings.chat_template));
  const auto count = static_cast<int>(names.all().size());
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::StartEmpty(ClusterOptionsOf(settings)));
  ModelShelf shelf(cluster->engine(), std::move(names), std::string(BarnVersion()), settings.http.reasoning);
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> server, HttpServer::Create(http, shelf));
  const std::string url = Greet(settings, http, *server, *cluster);
  std::string told = "-";
  return Watch(*cluster, stop, [&] {
    const std::string not_ready = shelf.NotReady();
    if (std::exchange(told, not_ready) == not_ready) return;
    if (not_ready.empty()) {
      std::printf("ready: %d models on %s/v1\n", count, url.c_str());
    } else {
      std::printf("not ready: %s\n", not_ready.c_str());
    }
    std::fflush(stdout);
  });
}

absl::Status Serve(const ServeSettings& settings) {
  StopSignal stop;
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<AccessGate> gate, OpenGate(settings.http));
  BARN_ASSIGN_OR_RETURN(const HttpOptions http, ToHttpOptions(settings.http, gate.get()));
  return settings.models.several() ? ServeSeveral(settings, http, stop) : ServeOne(settings, http, stop);
}

// Where workers and `barn status` come in.
void AddClusterOptions(CLI::App* command, ServeSettings& settings) {
  command->add_option("--cluster-listen", settings.cluster_listen, "ADDR:PORT for workers and barn status")
      ->envname("BARN_CLUSTER_LISTEN")
      ->capture_default_str();
  command->add_option("--token", settings.token, "What workers must know to join; a fresh one by default")
      ->envname("BARN_TOKEN");
  command
      ->add_option("--draft", settings.draft,
                   "ngram: guess tokens from what was said before and check several at once, where that is faster; the "
                   "answers stay the same")
      ->envname("BARN_DRAFT")
      ->check(CLI::IsMember({"ngram", "off"}))
      ->capture_default_str();
  AddLoraOption(command, settings.lora);
  command->add_option("--chat-template", settings.chat_template, "A Jinja file in place of the model's chat template")
      ->envname("BARN_CHAT_TEMPLATE");
}

}  // namespace

void AddUpCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("up", "Serve a model from this machine: coordinator and worker processes");
  auto settings = std::make_shared<ServeSettings>();
  settings->cluster_listen = "127.0.0.1:0";
  AddServedModels(command, settings->models);
  AddContextOptions(command, settings->model);
  AddSchedulingOptions(command, settings->scheduling);
  AddLocalWorkerOptions(command, settings->local);
  AddHttpOptions(command, settings->http);
  AddClusterOptions(command, *settings);
  SetWork(command, [settings] {
    settings->workers_expected = settings->local.workers;
    return Serve(*settings);
  });
}

void AddServeCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("serve", "Coordinator: plans, schedules, speaks HTTP; workers join it");
  auto settings = std::make_shared<ServeSettings>();
  settings->local.workers = 0;
  AddServedModels(command, settings->models);
  AddContextOptions(command, settings->model);
  AddSchedulingOptions(command, settings->scheduling);
  AddHttpOptions(command, settings->http);
  command->add_option("--expect-workers", settings->workers_expected, "Plan when so many workers have joined")
      ->envname("BARN_EXPECT_WORKERS")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddClusterOptions(command, *settings);
  SetWork(command, [settings] { return Serve(*settings); });
}

}  // namespace barn
