// `barn tokenize`: text to ids and back.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/model_reference.h"
#include "coordinator/cli/number_list.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/vocabulary.h"
#include "proto/base/status.h"

namespace barn {
namespace {

struct TokenizeSettings {
  std::string model;
  std::string text;
  bool detokenize = false;
  bool no_special = false;
  bool json = false;
};

absl::Status Tokenize(const TokenizeSettings& settings) {
  BARN_ASSIGN_OR_RETURN(const ModelReference reference, ResolveModel(settings.model));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<GgufModel> model, GgufModel::Open(reference.location));
  BARN_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadVocabulary(model->metadata()));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Create(std::move(vocabulary)));
  if (settings.detokenize) {
    BARN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseTokenIds(settings.text, tokenizer->size()));
    const std::string text = tokenizer->Decode(ids);
    if (settings.json) {
      const nlohmann::json out = {{"text", text}};
      std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    } else {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::printf("\n");
    }
    return absl::OkStatus();
  }
  const EncodeOptions options{.add_special = !settings.no_special, .parse_special = !settings.no_special};
  BARN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->Encode(settings.text, options));
  if (settings.json) {
    nlohmann::json pieces = nlohmann::json::array();
    for (const int32_t id : ids) {
      pieces.push_back(tokenizer->Piece(id, /*special=*/true));
    }
    const nlohmann::json out = {{"ids", ids}, {"pieces", pieces}};
    std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    std::printf("%s\n", absl::StrJoin(ids, ",").c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddTokenizeCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids, and back with --detokenize");
  auto settings = std::make_shared<TokenizeSettings>();
  command->add_option("model", settings->model, "A model; only its header is read")->required();
  command->add_option("text", settings->text, "Text, or ids like 1,2,3 with --detokenize")->required();
  command->add_flag("--detokenize", settings->detokenize, "TEXT holds ids");
  command->add_flag("--no-special", settings->no_special, "Add no BOS or EOS and read special tokens as plain text");
  command->add_flag("--json", settings->json, "As JSON");
  SetWork(command, [settings] { return Tokenize(*settings); });
}

}  // namespace barn
