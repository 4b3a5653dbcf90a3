// `barn status`: what a running coordinator says of its cluster.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/status_text.h"
#include "proto/base/status.h"
#include "proto/cluster.grpc.pb.h"
#include "worker/exchange/link.h"

namespace barn {
namespace {

struct StatusSettings {
  std::string join_address;
  std::string token;
  bool json = false;
};

absl::Status PrintStatus(const StatusSettings& settings) {
  BARN_RETURN_IF_ERROR(CheckLink("dial", settings.join_address, settings.token));
  const auto stub = proto::Cluster::NewStub(DialLink(settings.join_address, kExchangeKeepaliveMs));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  context.AddMetadata("barn-token", settings.token);
  proto::StatusReply reply;
  BARN_RETURN_IF_ERROR(FromGrpc(stub->Status(&context, {}, &reply)));
  std::string text = reply.json() + "\n";
  if (!settings.json) {
    BARN_ASSIGN_OR_RETURN(text, StatusText(reply.json()));
  }
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddStatusCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("status", "Show a running cluster: workers, their time, requests, memory");
  auto settings = std::make_shared<StatusSettings>();
  command->add_option("--join", settings->join_address, "ADDR:PORT of the coordinator, as workers join it")
      ->envname("BARN_JOIN")
      ->required();
  command->add_option("--token", settings->token, "The coordinator's join token (better: BARN_TOKEN)")
      ->envname("BARN_TOKEN");
  command->add_flag("--json", settings->json, "As JSON");
  SetWork(command, [settings] { return PrintStatus(*settings); });
}

}  // namespace barn
