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

// Of one of several models: "loaded, 512 MiB, pinned", and why it is not.
std::string Standing(const nlohmann::json& model) {
  std::string text = model.at("state").get<std::string>();
  const int64_t bytes = model.at("memory_bytes").get<int64_t>();
  if (bytes > 0) absl::StrAppend(&text, ", ", ByteText(bytes));
  if (model.at("pinned").get<bool>()) absl::StrAppend(&text, ", pinned");
  if (model.at("users").get<int64_t>() > 0) absl::StrAppend(&text, ", in use");
  if (model.at("expires_in_s").is_number()) {
    absl::StrAppendFormat(&text, ", for %d s more", model.at("expires_in_s").get<int64_t>());
  }
  const std::string reason = model.at("reason").get<std::string>();
  if (!reason.empty() && reason != "not loaded") absl::StrAppend(&text, ": ", reason);
  return text;
}

std::string Text(const nlohmann::json& state) {
  if (state.contains("models")) {
    std::string all;
    for (const nlohmann::json& model : state.at("models")) {
      const bool plain = model.at("state") == "unloaded" && model.at("requests_total") == 0;
      all += plain ? absl::StrCat(model.at("model").get<std::string>(), ": unloaded\n") : Text(model);
    }
    return all.empty() ? "no model has been asked for yet\n" : all;
  }
  const bool ready = state.at("ready").get<bool>();
  const std::string standing = state.contains("state") ? Standing(state)
                               : ready                 ? "ready"
                                                       : state.at("reason").get<std::string>();
  std::string text = absl::StrCat(state.at("model").get<std::string>(), ": ", standing, "\n");
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
