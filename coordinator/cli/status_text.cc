#include "coordinator/cli/status_text.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sharding/byte_text.h"

namespace barn {
namespace {

std::string Times(const nlohmann::json& share) {
  if (share.at("seconds").get<double>() <= 0) return "-";
  return absl::StrFormat("%3.0f %% busy %3.0f %% waiting %3.0f %% idle", 100 * share.at("busy").get<double>(),
                         100 * share.at("wait").get<double>(), 100 * share.at("idle").get<double>());
}

std::string WorkerLines(const nlohmann::json& worker) {
  const int64_t stage = worker.at("stage").get<int64_t>();
  std::string text =
      absl::StrFormat("worker %d  %s, %s, %s\n", worker.at("id").get<int64_t>(), worker.at("name").get<std::string>(),
                      worker.at("device").get<std::string>(), ByteText(worker.at("memory_bytes").get<int64_t>()));
  if (stage < 0) return text + "  holds nothing\n";
  absl::StrAppendFormat(&text, "  stage %d, layers %d to %d, %s%s\n", stage, worker.at("first_layer").get<int64_t>(),
                        worker.at("last_layer").get<int64_t>() - 1,
                        ByteText(worker.at("load_bytes_total").get<int64_t>()),
                        worker.at("loaded").get<bool>() ? "" : ", loading");
  absl::StrAppend(&text, "  last 10 s    ", Times(worker.at("recent")), "\n  since ready  ",
                  Times(worker.at("since_ready")), "\n");
  return text;
}

std::string Text(const nlohmann::json& state) {
  const bool ready = state.at("ready").get<bool>();
  std::string text = absl::StrCat(state.at("model").get<std::string>(), ": ",
                                  ready ? "ready" : state.at("reason").get<std::string>(), "\n");
  for (const nlohmann::json& worker : state.at("workers")) text += WorkerLines(worker);
  const auto number = [&](const char* name) { return state.at(name).get<int64_t>(); };
  absl::StrAppendFormat(&text, "requests  %d running, %d waiting, %d in all, %d failed\n", number("running"),
                        number("waiting"), number("requests_total"), number("requests_failed_total"));
  absl::StrAppendFormat(&text, "tokens    %d of prompts, %d generated, in %d steps\n", number("prompt_tokens_total"),
                        number("generated_tokens_total"), number("steps_total"));
  absl::StrAppendFormat(&text, "KV        %d of %d blocks free\n", number("kv_blocks_free"), number("kv_blocks_total"));
  return text;
}

}  // namespace

absl::StatusOr<std::string> StatusText(absl::string_view json) {
  try {
    return Text(nlohmann::json::parse(json.begin(), json.end()));
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat("the coordinator's answer makes no sense: ", error.what()));
  }
}

}  // namespace barn
