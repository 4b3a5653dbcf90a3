#include "tests/coordinator/http/test_server.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "sharding/gguf.h"

namespace barn {
namespace {

// Without its vocabulary no test of this folder can run.
template <class T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
  std::exit(1);
}

std::unique_ptr<Tokenizer> LoadTokenizer() {
  const auto model = Must(GgufModel::Open(BARN_SOURCE_DIR "/../shared/oracles/tokenizers/ggml-vocab-llama-spm.gguf"));
  return Must(Tokenizer::Create(Must(ReadVocabulary(model->metadata()))));
}

HttpOptions OnAnyPort(HttpOptions options) {
  options.port = 0;
  return options;
}

ServedModel TestModel() {
  return {.id = kTestModel,
          .aliases = {"other-name"},
          .created = 1700000000,
          .tokenizer = TestTokenizer(),
          .context_tokens = 0,
          .facts = {.family = "llama",
                    .parameter_size = "7B",
                    .quantization = "Q4_K_M",
                    .digest = std::string(64, 'a'),
                    .size_bytes = 1,
                    .embedding = {.pooling_known = true, .scores = true, .width = kFakeEmbeddingWidth},
                    .server_version = "0.0.0"}};
}

ServedModel WithTemplate(ServedModel model, const std::string& source) {
  auto chat_template = ChatTemplate::Create(source, model.tokenizer);
  if (chat_template.ok()) {
    model.chat_template = *std::move(chat_template);
  } else {
    model.chat_template_error = std::string(chat_template.status().message());
  }
  return model;
}

}  // namespace

const Tokenizer& TestTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer();
  return *tokenizer;
}

std::string OracleTemplate(const std::string& name) {
  std::ifstream in(BARN_SOURCE_DIR "/../shared/oracles/templates/" + name + ".jinja", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// As an answer's text goes on after the prompt, without a space of its own.
std::vector<int32_t> AnswerIds(const std::string& text) {
  return Must(TestTokenizer().Encode(text, {.add_special = false, .continues = true}));
}

std::function<std::vector<int32_t>(const GenerateRequest&)> Answers(const std::string& text) {
  return [ids = AnswerIds(text)](const GenerateRequest&) { return ids; };
}

std::vector<int32_t> SaysAsAsked(const GenerateRequest& request) {
  constexpr std::string_view kBegin = "[[say]]", kEnd = "[[/say]]", kResult = "<tool_response>";
  const std::string prompt = TestTokenizer().Decode(request.prompt);
  std::vector<std::string> answers;
  size_t last = 0;
  for (size_t at = prompt.find(kBegin); at != prompt.npos; at = prompt.find(kBegin, last)) {
    last = std::min(prompt.find(kEnd, at), prompt.size());
    answers.push_back(prompt.substr(at + kBegin.size(), last - at - kBegin.size()));
  }
  if (answers.empty()) return RepeatPrompt(request);
  size_t results = 0;
  for (size_t at = prompt.find(kResult, last); at != prompt.npos; at = prompt.find(kResult, at + 1)) ++results;
  return AnswerIds(answers[std::min(results, answers.size() - 1)]);
}

std::vector<int32_t> Ids(const std::string& text) { return Must(TestTokenizer().Encode(text, {.add_special = false})); }

TestServer::TestServer(FakeEngine::Options engine_options, HttpOptions http_options, ServedModel model)
    : engine(std::move(engine_options)),
      server(Must(HttpServer::Create(OnAnyPort(std::move(http_options)), std::move(model), engine))) {}

TestServer::TestServer(FakeEngine::Options engine_options, HttpOptions http_options)
    : TestServer(std::move(engine_options), std::move(http_options), TestModel()) {}

TestServer::TestServer(FakeEngine::Options engine_options, const std::string& chat_template)
    : TestServer(std::move(engine_options), HttpOptions(), WithTemplate(TestModel(), chat_template)) {}

bool Eventually(const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

}  // namespace barn
