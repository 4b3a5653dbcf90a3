#include "coordinator/cli/lora_option.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/http/adapter_fields.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr absl::Duration kWait = absl::Seconds(60);

absl::Status About(const std::string& option, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrFormat("--lora %s: %s", option, status.message()));
}

}  // namespace

void AddLoraOption(CLI::App* command, std::vector<std::string>& options) {
  command
      ->add_option("--lora", options,
                   "NAME=PATH[:SCALE], repeatable: a LoRA adapter (a GGUF file, or a PEFT folder) that requests choose "
                   "by model name; POST /v1/load_lora_adapter brings more while serving")
      ->envname("BARN_LORA")
      ->allow_extra_args(false);
}

absl::StatusOr<LoraOption> ParseLora(const std::string& text) {
  const size_t equals = text.find('=');
  LoraOption option;
  if (equals != std::string::npos) {
    option.name = text.substr(0, equals);
    option.reference = text.substr(equals + 1);
  }
  // A colon in a URL is followed by more than a number.
  const size_t colon = option.reference.rfind(':');
  float scale = 0;
  if (colon != std::string::npos && absl::SimpleAtof(option.reference.substr(colon + 1), &scale)) {
    option.reference.erase(colon);
    option.scale = scale;
  }
  if (option.name.empty() || option.reference.empty() || !(std::fabs(option.scale) <= kLoraScaleMax)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--lora %s: want NAME=PATH or NAME=PATH:SCALE with a scale of -%g to %g", text, kLoraScaleMax, kLoraScaleMax));
  }
  return option;
}

absl::Status BeginAdapters(const std::vector<std::string>& options, ServedAdapters& adapters) {
  for (const std::string& text : options) {
    BARN_ASSIGN_OR_RETURN(const LoraOption option, ParseLora(text));
    const absl::Status status = adapters.Begin(option.name, option.reference, option.scale, absl::Now());
    if (!status.ok()) return About(text, status);
  }
  return absl::OkStatus();
}

absl::Status AwaitAdapters(const std::vector<std::string>& options, ServedAdapters& adapters) {
  for (const std::string& text : options) {
    BARN_ASSIGN_OR_RETURN(const LoraOption option, ParseLora(text));
    if (const absl::Status status = adapters.Wait(option.name, kWait); !status.ok()) return About(text, status);
  }
  return absl::OkStatus();
}

}  // namespace barn
