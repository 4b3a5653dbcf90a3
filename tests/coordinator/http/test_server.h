#pragma once

#include <memory>
#include <string>

#include "coordinator/http/server.h"
#include "tests/coordinator/http/fake_engine.h"
#include "tests/coordinator/http/http_client.h"

namespace barn {

inline constexpr char kTestModel[] = "fake-model";

// The vocabulary of Llama 2 (32000 ids, SPM), shared by all tests of a process.
const Tokenizer& TestTokenizer();

// The ids of a text without the begin token.
std::vector<int32_t> Ids(const std::string& text);

// The chat template of shared/oracles/templates/NAME.jinja.
std::string OracleTemplate(const std::string& name);

// An engine's script that always says this.
std::function<std::vector<int32_t>(const GenerateRequest&)> Answers(const std::string& text);

// An engine's script that says what the prompt asks for between [[say]] and [[/say]]; of several, the one that comes
// after as many results of tools. Without any it repeats the prompt.
std::vector<int32_t> SaysAsAsked(const GenerateRequest& request);

// A server on a free port with a fake engine behind it.
struct TestServer {
  explicit TestServer(FakeEngine::Options engine_options = {}, HttpOptions http_options = {});
  // The same with a model that brings this chat template.
  TestServer(FakeEngine::Options engine_options, const std::string& chat_template);

  FakeEngine engine;
  std::unique_ptr<HttpServer> server;

  TestServer(FakeEngine::Options engine_options, HttpOptions http_options, ServedModel model);

  uint16_t port() const { return server->port(); }
  HttpClient Client() const { return HttpClient(port()); }
};

// Waits up to 10 s for the condition.
bool Eventually(const std::function<bool()>& condition);

}  // namespace barn
