#include <cstdio>
#include <cstring>

#include "tests/coordinator/http/test_server.h"

// Serves the scripted engine until its standard input ends: for tests in other languages. Prints "listening on PORT".
// --template NAME: a model with this chat template of the oracles, which says what it is asked to (SaysAsAsked).
int main(int argc, char** argv) {
  barn::FakeEngine::Options options{.step = absl::Milliseconds(1)};
  std::string chat_template;
  if (argc == 3 && std::strcmp(argv[1], "--template") == 0) {
    options.context_tokens = 4096;
    options.script = &barn::SaysAsAsked;
    chat_template = barn::OracleTemplate(argv[2]);
  }
  barn::TestServer server = chat_template.empty() ? barn::TestServer(std::move(options))
                                                  : barn::TestServer(std::move(options), chat_template);
  std::printf("listening on %d\n", server.port());
  std::fflush(stdout);
  while (std::getchar() != EOF) continue;
  server.server->Stop();
  return 0;
}
