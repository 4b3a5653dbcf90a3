// libFuzzer: any bytes as a chat template, rendered with a small chat. Seeds: ../shared/oracles/templates.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "coordinator/text/jinja/json_value.h"
#include "coordinator/text/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using barn::jinja::Value;
  static const Value inputs = *barn::jinja::ParseJson(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a\nb"},
          {"role": "assistant", "content": "<think>x</think>y", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.5}}}]}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
          "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  const auto parsed = barn::jinja::Template::Parse({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok()) return 0;
  const auto text = parsed->Render(*inputs.dict(), {.steps_max = 50'000, .bytes_max = 1 << 20});
  return text.ok() && text->size() > 1 << 20 ? __builtin_trap(), 0 : 0;
}
