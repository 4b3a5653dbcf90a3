#include "tests/coordinator/cluster/scripted_worker.h"

#include <atomic>
#include <chrono>
#include <mutex>

#include "absl/strings/str_cat.h"

namespace barn {

ScriptedWorker::ScriptedWorker(int port, const std::string& token, const grpc::ChannelArguments& arguments) {
  context_.AddMetadata("barn-token", token);
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  stub_ = proto::Cluster::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments));
  stream_ = stub_->Join(&context_);
}

ScriptedWorker::~ScriptedWorker() {
  context_.TryCancel();
  if (thread_.joinable()) thread_.join();
}

proto::WorkerMessage ScriptedWorker::Hello(const std::string& name) {
  proto::WorkerMessage message;
  proto::Hello& hello = *message.mutable_hello();
  hello.set_version("0.1.0");
  hello.set_name(name);
  hello.set_memory_bytes(int64_t{1} << 32);
  hello.set_threads(1);
  hello.set_device("scripted");
  hello.set_exchange_address("127.0.0.1:1");
  return message;
}

void ScriptedWorker::Serve(const std::string& name, const FakeModel& model) {
  Write(Hello(name));
  thread_ = std::thread([this, model] { Run(model); });
}

std::optional<std::string> ScriptedWorker::shutdown_reason() {
  thread_.join();
  return shutdown_reason_;
}

void ScriptedWorker::Run(FakeModel model) {
  std::mutex write_mutex;
  std::atomic<bool> over = false;
  std::thread beats([&] {
    while (!over) {
      proto::WorkerMessage message;
      message.mutable_heartbeat();
      {
        std::lock_guard lock(write_mutex);
        Write(message);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  std::unique_ptr<FakeStage> stage;
  proto::CoordinatorMessage message;
  while (Read(&message)) {
    proto::WorkerMessage answer;
    if (message.has_load()) {
      stage = std::make_unique<FakeStage>(model, message.load());
      answer.mutable_load_result()->set_epoch(message.load().epoch());
    } else if (message.has_step()) {
      // Without the exchange, a later stage sees the rows that the stage before would have sent: its own.
      FakeStage twin = *stage;
      *answer.mutable_step_result() = stage->Run(message.step(), twin.Run(message.step(), {}).rows).result;
    } else if (message.has_shutdown()) {
      shutdown_reason_ = message.shutdown().reason();
      continue;
    } else {
      continue;
    }
    std::lock_guard lock(write_mutex);
    Write(answer);
  }
  over = true;
  beats.join();
}

}  // namespace barn
