#include <cstdio>

#include "tests/coordinator/http/test_server.h"

// Serves the scripted engine until its standard input ends: for tests in other languages. Prints "listening on PORT".
int main() {
  barn::TestServer server({.step = absl::Milliseconds(1)});
  std::printf("listening on %d\n", server.port());
  std::fflush(stdout);
  while (std::getchar() != EOF) continue;
  server.server->Stop();
  return 0;
}
